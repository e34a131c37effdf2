// Health checks of a target as a strip, and one by one as a table.
'use strict';

const STRIP = { ticks: 18, band: 5, gap: 2 };
/** Strips beside the chart; others are drawn in their target's part. */
const STRIPS_MAX = 12;
const CHECKS_PAGE = 200;

const outcomeOf = (check) => (check[CHECK.outcome] === null ? null : DATA.outcomes[check[CHECK.outcome]]);
const effectOf = (check) => outcomeOf(check)?.effect ?? 'none';

/** The strip of a target from `from` to `to`, with room of `left` pixels before it. */
function strip(target, from, to, left, width) {
  const height = STRIP.ticks + STRIP.gap + STRIP.band;
  const x = (t) => left + ((t - from) / Math.max(1, to - from)) * width;
  const parts = [svg('rect', { class: 'ground', x: left, y: 0, width, height: STRIP.ticks })];
  target.states.forEach(([t, state, reason], n) => {
    const until = n + 1 < target.states.length ? target.states[n + 1][0] : to;
    const [a, b] = [Math.max(left, x(t)), Math.min(left + width, x(until))];
    if (b <= a) return;
    const name = DATA.states[state];
    parts.push(svg('rect', { class: `state ${name.replace('.', '-')}`, x: a.toFixed(1), y: STRIP.ticks + STRIP.gap, width: (b - a).toFixed(1), height: STRIP.band },
      svg('title', null, fill(WORDS.stateSince, reason === null ? name : `${name} (${text(reason)})`, fullTime(t)))));
  });
  // One tick per two pixels: what fell together is counted, a failure is never hidden.
  const cells = new Map();
  for (const check of target.checks) {
    const t = check[CHECK.t];
    if (t < from || t > to) continue;
    const at = Math.floor((x(t) - left) / 2);
    const cell = cells.get(at) ?? { pass: 0, fail: 0, none: 0, first: check };
    cell[effectOf(check)] += 1;
    cells.set(at, cell);
  }
  for (const [at, cell] of cells) {
    const place = Math.min(left + at * 2, left + width - 2);
    const tick = (effect, y, tall) => parts.push(svg('rect', { class: `tick ${effect}`, x: place, y, width: 2, height: tall },
      svg('title', null, describe(cell))));
    if (cell.fail) tick('fail', 0, STRIP.ticks);
    if (cell.pass) tick('pass', cell.fail ? STRIP.ticks - 6 : STRIP.ticks - 9, cell.fail ? 6 : 9);
    if (!cell.fail && !cell.pass) tick('none', STRIP.ticks - 4, 4);
  }
  return svg('svg', { class: 'strip-drawing', viewBox: `0 0 ${left + width} ${height}`, width: left + width, height, role: 'img', 'aria-label': stripLabel(target) }, ...parts);
}

function describe(cell) {
  const time = fullTime(cell.first[CHECK.t]);
  const all = cell.pass + cell.fail + cell.none;
  if (all > 1) return fill(WORDS.checkCounts, time, count(cell.pass), count(cell.fail), count(cell.none));
  const outcome = outcomeOf(cell.first)?.id ?? '?';
  return `${time} ${outcome} ${text(cell.first[CHECK.note])}`.trim();
}

function stripLabel(target) {
  const n = (effect) => target.checks.filter((check) => effectOf(check) === effect).length;
  return fill(WORDS.checkCounts, target.name, count(n('pass')), count(n('fail')), count(n('none')));
}

/** Strips under the chart, on its axis. */
function drawStrips(from, to, left, width) {
  const host = byId('strips');
  const drawn = DATA.targets.map((target, n) => [target, n]).filter(([target]) => target.checks.length > 0);
  host.replaceChildren(...drawn.slice(0, STRIPS_MAX).map(([target, n]) => el('div', { class: 'strip-row' },
    el('p', { class: 'small' }, el('a', { href: `#target-${n}` }, target.name), ` ${DATA.states[target.state]}, ${count(target.total)} ${WORDS.checks}`),
    strip(target, from, to, left, width))));
  byId('strip-key').hidden = drawn.length === 0;
  const more = drawn.length - STRIPS_MAX + DATA.moreTargets;
  if (more > 0 && drawn.length > STRIPS_MAX) host.append(el('p', { class: 'small' }, fill(WORDS.moreStrips, count(more))));
}

/** The span of all that is drawn on the axis of time. */
function wholeSpan() {
  const time = DATA.time;
  let [from, to] = time ? [time.start, time.start + time.width * time.sound.length] : [Infinity, -Infinity];
  for (const target of DATA.targets) {
    for (const check of target.checks) {
      from = Math.min(from, check[CHECK.t]);
      to = Math.max(to, check[CHECK.t] + 1);
    }
  }
  return [from, to];
}

function checkRow(target, check) {
  const outcome = outcomeOf(check);
  const cell = (name, ...content) => el('td', { 'data-label': name }, ...content);
  return el('tr', { class: effectOf(check) },
    cell(WORDS.time, moment(check[CHECK.t], 3)[1]),
    cell(WORDS.outcome, outcome ? outcome.id : '?'),
    cell(WORDS.status, check[CHECK.status] === null ? '' : String(check[CHECK.status])),
    cell(WORDS.latency, check[CHECK.latency] === null ? '' : nanos(check[CHECK.latency])),
    cell(WORDS.source, text(check[CHECK.source])),
    cell(WORDS.proof, fill(WORDS.frame, frameName(check[CHECK.file], check[CHECK.frame]))),
    cell(WORDS.note, text(check[CHECK.note])));
}

/** The table of checks, the newest first, filled when it is opened. */
function fillChecks(details, target) {
  const body = el('tbody');
  const names = [WORDS.time, WORDS.outcome, WORDS.status, WORDS.latency, WORDS.source, WORDS.proof, WORDS.note];
  const newest = target.checks.slice().reverse();
  let shown = 0;
  const more = el('button', { type: 'button' });
  const grow = () => {
    body.append(...newest.slice(shown, shown + CHECKS_PAGE).map((check) => checkRow(target, check)));
    shown = Math.min(newest.length, shown + CHECKS_PAGE);
    more.textContent = fill(WORDS.newer, count(shown), count(target.total));
    more.disabled = shown === newest.length;
  };
  more.addEventListener('click', grow);
  details.append(el('table', { class: 'check-table' }, el('thead', null, el('tr', null, ...names.map((name) => el('th', { scope: 'col' }, name)))), body), more);
  grow();
}

function startStrips() {
  const [from, to] = wholeSpan();
  for (const host of document.querySelectorAll('.strip[data-target]')) {
    const target = DATA.targets[host.dataset.target];
    if (!target || target.checks.length === 0) continue;
    let drawn = 0;
    const draw = () => {
      if (host.clientWidth === 0 || host.clientWidth === drawn) return;
      drawn = host.clientWidth;
      host.replaceChildren(strip(target, from, to, 0, drawn),
        el('p', { class: 'small ends' }, el('span', null, moment(from, 0)[1]), el('span', null, moment(to, 0)[1])));
    };
    draw();
    new ResizeObserver(draw).observe(host);
  }
  for (const details of document.querySelectorAll('details.checks')) {
    details.addEventListener('toggle', () => {
      if (details.open && !details.querySelector('table')) fillChecks(details, DATA.targets[details.dataset.target]);
    });
  }
}
