// One finding opened: its ladder, its facts, its proof.
'use strict';

function copyable(value) {
  const button = el('button', { type: 'button', class: 'copy', 'data-copy': value }, WORDS.copy);
  makeCopyable(button);
  return [el('code', null, value), button];
}

const displayFilter = (row) => (row[FINDING.filter] === null
  ? `tcp.stream eq ${row[FINDING.stream]}` : text(row[FINDING.filter]));

function facts(row) {
  const list = el('dl', { class: 'facts' });
  const add = (name, ...values) => list.append(el('dt', null, name), el('dd', null, ...values));
  const stream = row[FINDING.stream] === null ? WORDS.noStream : fill(WORDS.stream, row[FINDING.stream]);
  add(WORDS.time, fullTime(row[FINDING.t]));
  if (row[FINDING.asked] !== null) {
    const ordinal = row[FINDING.ordinal];
    add(WORDS.request, el('span', { class: 'path' }, text(row[FINDING.asked])), ordinal ? `, ${fill(WORDS.ordinal, ordinal)}` : null);
  }
  if (row[FINDING.host] !== null) add(WORDS.host, el('span', { class: 'path' }, text(row[FINDING.host])));
  if (row[FINDING.trace] !== null) add(WORDS.trace, el('span', { class: 'path' }, text(row[FINDING.trace])));
  if (row[FINDING.status] !== null) add(WORDS.status, String(row[FINDING.status]));
  add(WORDS.connection, `${text(row[FINDING.client])} → ${text(row[FINDING.server])}; ${fill(WORDS.flow, row[FINDING.flow])}, ${stream}, `
    + fill(WORDS.captured, DATA.vantages[row[FINDING.vantage]][1]));
  if (row[FINDING.outcome] !== null) add(WORDS.requestBecame, text(row[FINDING.outcome]));
  if (row[FINDING.outstanding] !== null) add(WORDS.outstanding, nanos(row[FINDING.outstanding]));
  if (row[FINDING.idle] !== null) add(WORDS.idle, nanos(row[FINDING.idle]));
  const [sure, meaning] = DATA.confidences[row[FINDING.confidence]];
  add(WORDS.confidence, el('strong', null, sure), `: ${meaning}`);
  add(WORDS.responsible, DATA.responsibles[row[FINDING.responsible]][1]);
  const spots = DATA.spots.filter((_, n) => row[FINDING.spots] & (1 << n));
  if (spots.length) {
    list.append(el('dt', null, WORDS.notSeen));
    for (const [, what] of spots) list.append(el('dd', null, what));
  }
  add(WORDS.filter, ...copyable(displayFilter(row)));
  return list;
}

function proof(index) {
  const packets = packetsOf(index).filter((packet) => packet.note);
  packets.sort((a, b) => b.guilty - a.guilty);
  if (packets.length === 0) return null;
  return el('div', null, el('h4', null, WORDS.proof), el('ul', { class: 'proof' }, ...packets.map((packet) => el('li', null,
    el('strong', null, fill(WORDS.frame, packet.frame)), packet.guilty ? ` (${WORDS.guilty})` : null, `: ${packet.note}`))));
}

/** Fills an opened row. */
function openFinding(host, index) {
  const row = DATA.findings[index][0];
  const drawing = el('div', { class: 'ladder' });
  host.append(
    row[FINDING.summary] === null ? '' : el('p', { class: 'what' }, `${sentence(text(row[FINDING.summary]))}.`),
    el('div', { class: 'columns' }, el('div', null, drawing, proof(index)), facts(row)),
  );
  drawLadder(drawing, index);
}
