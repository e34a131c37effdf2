// What every other script needs: the data, elements, numbers and times as text.
// No text becomes HTML: elements are made one by one, texts are text nodes.
'use strict';

const dataElement = document.getElementById('data');
const DATA = JSON.parse(dataElement.textContent);
// The text is not needed twice; with many findings it is large.
dataElement.textContent = '';

const WORDS = DATA.words;
const TEXTS = DATA.texts;
const columns = (names) => Object.fromEntries(names.map((name, at) => [name, at]));
const FINDING = columns(DATA.fields.finding);
const PACKET = columns(DATA.fields.packet);
const CHECK = columns(DATA.fields.check);

const byId = (id) => document.getElementById(id);

function make(space, tag, attributes, children) {
  const made = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ''));
  return made;
}

const el = (tag, attributes, ...children) => make(null, tag, attributes, children);
/** The name of SVG's elements; nothing is loaded from it. */
const SVG_SPACE = 'http://www.w3.org/2000/svg';
const svg = (tag, attributes, ...children) => make(SVG_SPACE, tag, attributes, children);

/** With a capital first letter. */
const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1);

/** Puts values into the places of a text. */
function fill(text, ...values) {
  let next = 0;
  return text.replace(/\{\}/g, () => values[next++]);
}

const text = (number) => (number === null || number === undefined ? '' : TEXTS[number]);

/** `4 310` */
const count = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, '\u202f');

const threeDigits = (x) => x.toFixed(x < 9.995 ? 2 : x < 99.95 ? 1 : 0);

/** A length of time with three significant digits, as in the text report. */
function seconds(value) {
  const sign = value < 0 ? '\u2212' : '';
  const s = Math.abs(value);
  if (s === 0) return '0 s';
  if (s < 0.9995e-3) return `${sign}${(s * 1e6).toFixed(0)} µs`;
  if (s < 0.9995) return `${sign}${threeDigits(s * 1e3)} ms`;
  if (s < 119.95) return `${sign}${threeDigits(s)} s`;
  const whole = Math.round(s);
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days) return `${sign}${days} d ${hours} h`;
  if (hours) return `${sign}${hours} h ${minutes} min`;
  return `${sign}${minutes} min ${whole % 60} s`;
}

const nanos = (n) => seconds(n / 1e9);

const BASE_S = Number(BigInt(DATA.base) / 1000000000n);
/** Seconds since the epoch of a time of the data. */
const epoch = (t) => BASE_S + t / 1e9;

/** Date and time of day in UTC; `digits` of the second behind the point. */
function moment(t, digits) {
  const whole = Math.floor(t / 1e9);
  const rest = String(Math.floor(t - whole * 1e9)).padStart(9, '0').slice(0, digits);
  const date = new Date((BASE_S + whole) * 1000);
  if (Number.isNaN(date.getTime())) return ['?', '?'];
  const [day, time] = date.toISOString().split('T');
  return [day, time.slice(0, 8) + (digits ? `.${rest}` : '')];
}

const fullTime = (t) => moment(t, 6).join('T') + 'Z';

/** A frame by number, and by file when there are several. */
const frameName = (file, frame) =>
  (DATA.files.length > 1 ? `${DATA.files[file] ?? '?'}:${frame}` : String(frame));

/** Classes of colours end with the one for the rest. */
const colourClass = (group) => `c${Math.min(group ?? 7, 7)}`;

const styleOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A button that copies a text; clipboards need permission, a selection does not. */
function makeCopyable(button) {
  button.hidden = false;
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      const area = el('textarea', { class: 'off-screen', 'aria-hidden': 'true' });
      area.value = button.dataset.copy;
      document.body.append(area);
      area.select();
      document.execCommand('copy');
      area.remove();
      button.focus();
    }
    const before = button.textContent;
    button.textContent = WORDS.copied;
    setTimeout(() => { button.textContent = before; }, 1200);
  });
}

/** Calls once when calls have stopped for a moment. */
function calm(wait, call) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...values), wait);
  };
}
