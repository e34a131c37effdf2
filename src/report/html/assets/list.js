// The list of findings: filters, pages, keys. Only one page of rows exists at a time.
'use strict';

const PAGE = 50;
const SERVERS_MAX = 300;

const list = {
  shown: [],
  page: 0,
  filter: { text: '', group: '', server: '', confidence: '', kind: '', from: null, to: null },
  /** Called when the range of time was changed by the list. */
  onRange: () => {},
};

let lowered = null;

/** Which texts contain the words that are searched for. */
function matching(needle) {
  lowered ??= TEXTS.map((one) => one.toLowerCase());
  const found = new Uint8Array(lowered.length);
  for (let n = 0; n < lowered.length; n += 1) if (lowered[n].includes(needle)) found[n] = 1;
  return found;
}

const SEARCHED = ['client', 'server', 'asked', 'host', 'trace', 'summary'];

/** When it failed: the time of the request where there is one, as in the chart. */
const failedAt = (row) => row[FINDING.t] + (row[FINDING.zero] ?? 0);

function select() {
  const { text: wanted, group, server, confidence, kind, from, to } = list.filter;
  const needle = wanted.trim().toLowerCase();
  const found = needle ? matching(needle) : null;
  const number = /^\d+$/.test(needle) ? Number(needle) : null;
  const groups = DATA.groups.map((one, n) => (group === '' || String(n) === group) && (kind === '' || one.kind === kind));
  const named = DATA.groups.map((one) => needle !== '' && one.id.includes(needle));
  const columnsSearched = SEARCHED.map((name) => FINDING[name]);
  const serverNumber = server === '' ? null : Number(server);
  const shown = [];
  for (let n = 0; n < DATA.findings.length; n += 1) {
    const row = DATA.findings[n][0];
    if (!groups[row[FINDING.group]]) continue;
    if (serverNumber !== null && row[FINDING.server] !== serverNumber) continue;
    if (confidence !== '' && String(row[FINDING.confidence]) !== confidence) continue;
    if (from !== null) {
      const at = failedAt(row);
      if (at < from || at >= to) continue;
    }
    if (needle && !named[row[FINDING.group]] && !columnsSearched.some((at) => row[at] !== null && found[row[at]])
      && !(number !== null && (row[FINDING.frame] === number || row[FINDING.stream] === number))) continue;
    shown.push(n);
  }
  return shown;
}

function rowOf(index) {
  const row = DATA.findings[index][0];
  const group = DATA.groups[row[FINDING.group]];
  const asked = text(row[FINDING.asked]) || group.noun;
  const [day, time] = moment(row[FINDING.t], 3);
  const summary = el('summary', null,
    el('span', { class: 'when', title: `${day}T${time}Z` }, time),
    el('span', { class: 'id' }, el('i', { class: 'swatch' }), group.id),
    el('span', { class: 'sure' }, DATA.confidences[row[FINDING.confidence]][0]),
    el('span', { class: 'asked', title: asked }, asked),
    el('span', { class: 'server' }, text(row[FINDING.server])),
    el('span', { class: 'at' }, fill(WORDS.frame, frameName(row[FINDING.file], row[FINDING.frame]))),
  );
  const details = el('details', { class: `row ${colourClass(row[FINDING.group])}`, 'data-finding': index }, summary);
  details.addEventListener('toggle', () => {
    if (details.open && !details.querySelector('.opened')) {
      const host = el('div', { class: 'opened' });
      details.append(host);
      openFinding(host, index);
    }
  });
  return el('li', null, details);
}

function showPage() {
  const pages = Math.max(1, Math.ceil(list.shown.length / PAGE));
  list.page = Math.min(Math.max(0, list.page), pages - 1);
  const rows = list.shown.slice(list.page * PAGE, (list.page + 1) * PAGE).map(rowOf);
  byId('list').replaceChildren(...rows);
  byId('list').setAttribute('start', list.page * PAGE + 1);
  byId('page-number').textContent = fill(WORDS.page, count(list.page + 1), count(pages));
  byId('previous').disabled = list.page === 0;
  byId('next').disabled = list.page === pages - 1;
  document.querySelector('.pager').hidden = pages === 1;
}

function turn(by) {
  list.page += by;
  showPage();
  byId('shown').scrollIntoView({ block: 'start' });
}

function applyFilter() {
  list.shown = select();
  list.page = 0;
  const all = DATA.findings.length;
  const { from, to } = list.filter;
  const range = from === null ? '' : `, ${fill(WORDS.between, moment(from, 3)[1], moment(to, 3)[1])}`;
  byId('shown').textContent = (list.shown.length === 0 ? WORDS.noneFit
    : list.shown.length === all ? fill(WORDS.allFindings, count(all))
      : fill(WORDS.ofFindings, count(list.shown.length), count(all))) + range;
  showPage();
}

const FIELDS = { text: 'f-text', group: 'f-group', server: 'f-server', confidence: 'f-confidence', kind: 'f-kind' };

function readFields() {
  for (const [name, id] of Object.entries(FIELDS)) {
    const field = byId(id);
    if (field) list.filter[name] = field.value;
  }
}

/** Shows the findings of a range of time; without one, of all. */
function setRange(from, to) {
  if (list.filter.from === from && list.filter.to === to) return;
  [list.filter.from, list.filter.to] = [from, to];
  if (byId('list')) applyFilter();
}

function clearFilter() {
  for (const id of Object.values(FIELDS)) if (byId(id)) byId(id).value = '';
  readFields();
  [list.filter.from, list.filter.to] = [null, null];
  list.onRange();
  applyFilter();
}

/** `#group=2&confidence=0&text=orders` sets the filters, so that a view can be linked to. */
function readAddress() {
  const hash = location.hash.slice(1);
  if (!hash.includes('=')) return;
  const wanted = new URLSearchParams(hash);
  for (const [name, id] of Object.entries(FIELDS)) if (byId(id)) byId(id).value = wanted.get(name) ?? '';
  readFields();
  applyFilter();
  byId('findings').scrollIntoView({ block: 'start' });
}

function writeAddress() {
  const chosen = Object.keys(FIELDS).filter((name) => list.filter[name] !== '').map((name) => [name, list.filter[name]]);
  try {
    history.replaceState(null, '', `#${chosen.length ? new URLSearchParams(chosen) : 'findings'}`);
  } catch { /* Some viewers do not allow it; the filters work all the same. */ }
}

function choices() {
  const counts = new Map();
  const sure = new Map();
  for (const [row] of DATA.findings) {
    counts.set(row[FINDING.server], (counts.get(row[FINDING.server]) ?? 0) + 1);
    sure.set(row[FINDING.confidence], (sure.get(row[FINDING.confidence]) ?? 0) + 1);
  }
  const option = (value, name, n) => el('option', { value }, `${name} (${count(n)})`);
  const several = (group) => DATA.groups.filter((one) => one.id === group.id).length > 1;
  byId('f-group').append(...DATA.groups.map((group, n) =>
    option(n, several(group) ? `${group.id}, ${group.noun}` : group.id, group.count)));
  const servers = [...counts].sort((a, b) => b[1] - a[1] || text(a[0]).localeCompare(text(b[0])));
  byId('f-server').append(...servers.slice(0, SERVERS_MAX).map(([server, n]) => option(server, text(server), n)));
  byId('f-confidence').append(...DATA.confidences.map(([id], n) => [id, n]).filter(([, n]) => sure.has(n))
    .map(([id, n]) => option(n, id, sure.get(n))));
}

/** Moves the focus to the next or previous row. */
function step(by) {
  const rows = [...document.querySelectorAll('#list summary')];
  const at = rows.indexOf(document.activeElement);
  const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by];
  if (next) {
    next.focus();
    next.scrollIntoView({ block: 'nearest' });
  } else if (at >= 0) {
    const page = list.page + by;
    if (page < 0 || page * PAGE >= list.shown.length) return;
    list.page = page;
    showPage();
    const summaries = document.querySelectorAll('#list summary');
    summaries[by > 0 ? 0 : summaries.length - 1].focus();
  }
}

function onKey(event) {
  const field = event.target.closest?.('input, select, textarea');
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === 'Escape') {
    clearFilter();
    writeAddress();
    if (field) field.blur();
    return;
  }
  if (field) return;
  const act = {
    '/': () => byId('f-text').focus(),
    j: () => step(1),
    k: () => step(-1),
    ']': () => !byId('next').disabled && turn(1),
    '[': () => !byId('previous').disabled && turn(-1),
  }[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
}

function startList() {
  if (!byId('list')) return;
  choices();
  const change = () => {
    readFields();
    applyFilter();
    writeAddress();
  };
  const later = calm(120, change);
  byId('f-text').addEventListener('input', later);
  for (const id of Object.values(FIELDS).slice(1)) byId(id)?.addEventListener('change', change);
  byId('filters').addEventListener('submit', (event) => event.preventDefault());
  byId('f-clear').addEventListener('click', () => {
    clearFilter();
    writeAddress();
  });
  byId('previous').addEventListener('click', () => turn(-1));
  byId('next').addEventListener('click', () => turn(1));
  addEventListener('hashchange', readAddress);
  document.addEventListener('keydown', onKey);
  applyFilter();
  readAddress();
}
