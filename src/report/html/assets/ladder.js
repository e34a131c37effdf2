// The packets of a finding: time goes down, client on the left, server on the right; with both legs of a proxy
// the proxy in the middle.
'use strict';

/** Pixels, and the shortest idle time worth a line, nanoseconds. */
const LADDER = { row: 36, head: 50, narrow: 520, character: 7.3, idle: 1e7 };

/** The packets of a finding as objects. */
function packetsOf(index) {
  const cells = DATA.findings[index][1];
  const width = DATA.fields.packet.length;
  const packets = [];
  for (let at = 0; at < cells.length; at += width) {
    const cell = (name) => cells[at + PACKET[name]];
    packets.push({
      dt: cell('dt'),
      file: cell('file'),
      number: cell('frame'),
      frame: frameName(cell('file'), cell('frame')),
      fromServer: (cell('flags') & 1) !== 0,
      silent: (cell('flags') & 2) !== 0,
      guilty: (cell('flags') & 4) !== 0,
      front: (cell('flags') & 8) !== 0,
      label: text(cell('label')),
      note: text(cell('note')),
    });
  }
  return packets;
}

const shorten = (label, max) => (label.length <= max ? label : `${label.slice(0, Math.max(1, max - 1))}…`);

/** Width of a text in columns: the letters of Japanese take two. */
const breadth = (label) => [...label].reduce((sum, letter) => sum + (letter.codePointAt(0) > 0x2e7f ? 2 : 1), 0);

/** Room above a packet: the longer the pause before it, the more, without letting a minute fill the page. */
const pause = (nanoseconds) => Math.min(34, Math.max(0, 8 * Math.log10(1 + nanoseconds / 1e6)));

/** The ladder as SVG, `width` pixels wide; null when the packets were left out. */
function ladder(index, width) {
  const row = DATA.findings[index][0];
  const packets = packetsOf(index);
  if (packets.length === 0) return null;
  const narrow = width < LADDER.narrow;
  const silent = packets.some((packet) => packet.silent);
  const [left, right] = [narrow ? 72 : 92, width - (!narrow ? 120 : silent ? 88 : 66)];
  const spots = DATA.spots.filter((_, n) => row[FINDING.spots] & (1 << n)).map(([id]) => id);
  const legs = row[FINDING.proxy] !== null;
  const zero = (legs ? row[FINDING.front] : row[FINDING.zero]) ?? packets[0].dt;
  const idle = legs || row[FINDING.zero] === null ? null : row[FINDING.idle];
  const known = (column) => (row[column] === null ? '' : text(row[column]));
  const [client, server] = legs ? [known(FINDING.visitor), known(FINDING.target)] : [known(FINDING.client), known(FINDING.server)];
  const proxy = legs ? known(FINDING.proxy) : '';
  const stacked = (client.length + proxy.length + server.length + (legs ? 4 : 0)) * LADDER.character > right - left - 8;
  const parts = [];
  let y = LADDER.head + (stacked ? (legs ? 32 : 16) : 0);
  const top = y - 6;

  parts.push(
    svg('text', { class: 'side', x: left - 4, y: 14 }, WORDS.client),
    svg('text', { class: 'side', x: right + 4, y: 14, 'text-anchor': 'end' }, legs ? WORDS.target : WORDS.server),
    svg('text', { class: 'address', x: left - 4, y: 30 }, client),
    svg('text', { class: 'address', x: right + 4, y: stacked ? (legs ? 62 : 46) : 30, 'text-anchor': 'end' }, server),
  );
  const middle = (left + right) / 2;
  if (legs) {
    parts.push(
      svg('text', { class: 'side', x: middle, y: 14, 'text-anchor': 'middle' }, WORDS.balancer),
      svg('text', { class: 'address', x: middle, y: stacked ? 46 : 30, 'text-anchor': 'middle' }, proxy),
    );
  }
  const beside = (side) => 6 + breadth(side) * LADDER.character;
  const taken = legs ? null : { 1: [left + beside(WORDS.client), 'start'], 2: [right - beside(WORDS.server), 'end'], 3: [middle, 'middle'] }[row[FINDING.vantage]];
  if (taken) parts.push(svg('text', { class: 'here', x: taken[0], y: 14, 'text-anchor': taken[1] }, narrow ? '◉' : `◉ ${WORDS.takenHere}`));

  const startHidden = spots.includes('no-handshake') || spots.includes('capture-start');
  if (startHidden) {
    parts.push(svg('text', { class: 'unseen', x: middle, y: y + 8, 'text-anchor': 'middle' }, WORDS.startNotSeen));
    y += 18;
  }
  if (idle > LADDER.idle) {
    y += 20;
    parts.push(
      svg('line', { class: 'silence', x1: left + 4, x2: right - 4, y1: y, y2: y }),
      svg('text', { class: 'label quiet', x: middle, y: y - 6, 'text-anchor': 'middle' }, fill(WORDS.idleFor, nanos(idle))),
      svg('text', { class: 'time', x: left - 10, y: y + 4, 'text-anchor': 'end' }, nanos(-idle)),
    );
  }
  const room = Math.floor((right - left) / (legs ? 2 : 1) / LADDER.character - 30 / LADDER.character);
  const heights = [];
  let last = packets[0].dt;
  for (const packet of packets) {
    y += LADDER.row + pause(packet.dt - last);
    last = packet.dt;
    heights.push(y);
    const relative = packet.dt - zero;
    const state = packet.guilty ? ' guilty' : '';
    const group = svg('g', { class: `packet${state}` });
    if (packet.guilty) {
      group.append(svg('rect', { class: 'mark', x: 0, y: y - 24, width, height: 32, rx: 4 }));
    }
    group.append(svg('text', { class: 'time', x: left - 10, y: y + 4, 'text-anchor': 'end' },
      relative > 0 ? `+${nanos(relative)}` : nanos(relative)));
    const label = shorten(packet.label, room);
    const [near, far] = !legs ? [left, right] : packet.front ? [left, middle] : [middle, right];
    const between = (near + far) / 2;
    group.append(svg('text', { class: packet.silent ? 'label quiet' : 'label', x: between, y: y - 7, 'text-anchor': 'middle' },
      label, svg('title', null, packet.label)));
    if (packet.silent) {
      group.append(svg('line', { class: 'silence', x1: near + 4, x2: far - 4, y1: y, y2: y }));
    } else {
      const [from, to, way] = packet.fromServer ? [far - 3, near + 3, 1] : [near + 3, far - 3, -1];
      group.append(
        svg('line', { class: 'arrow', x1: from, x2: to + way * 6, y1: y, y2: y }),
        svg('path', { class: 'tip', d: `M${to} ${y}l${way * 9} -4.5v9z` }),
      );
    }
    // The file of the guilty packet is named once, below.
    const name = packet.file === row[FINDING.file] ? String(packet.number) : packet.frame;
    const frame = packet.silent ? fill(WORDS.after, name) : name;
    const place = { x: right + 10, y: y + 4 };
    group.append(svg('text', { class: 'frame', ...place }, shorten(frame, Math.floor((width - right - 8) / LADDER.character))));
    if (packet.guilty) {
      group.append(svg('text', { class: 'verdict', x: right + 10, y: y - 9 }, WORDS.guilty));
    }
    parts.push(group);
  }
  y += 16;
  if (spots.includes('capture-end')) {
    y += 12;
    parts.push(svg('text', { class: 'unseen', x: middle, y, 'text-anchor': 'middle' }, WORDS.endNotSeen));
    y += 4;
  }
  const bottom = y;
  // The request is outstanding from its first byte until its answer is complete or the connection is gone.
  const asked = legs || row[FINDING.zero] === null ? -1 : packets.findIndex((packet) => packet.dt >= zero);
  const behind = [];
  if (asked >= 0 && asked < packets.length - 1) {
    const end = packets[packets.length - 1];
    behind.push(svg('rect', { class: 'waiting', x: left, width: right - left, y: heights[asked], height: heights[heights.length - 1] - heights[asked] }));
    y += 16;
    parts.push(
      svg('rect', { class: 'waiting key', x: left, y: y - 9, width: 12, height: 10 }),
      svg('text', { class: 'note', x: left + 18, y }, fill(WORDS.waiting, nanos(end.dt - zero))),
    );
  }
  if (taken && narrow) {
    y += 16;
    parts.push(svg('text', { class: 'note', x: left, y }, `◉ ${WORDS.takenHere}`));
  }
  if (DATA.files.length > 1) {
    y += 16;
    parts.push(svg('text', { class: 'note', x: left, y }, fill(WORDS.framesOf, DATA.files[row[FINDING.file]] ?? '?')));
  }
  const hidden = (side) => (startHidden ? `life ${side} hidden-start` : `life ${side}`);
  behind.push(
    svg('line', { class: hidden('client'), x1: left, x2: left, y1: top, y2: bottom }),
    svg('line', { class: hidden('server'), x1: right, x2: right, y1: top, y2: bottom }),
  );
  if (legs) behind.push(svg('line', { class: 'life proxy', x1: middle, x2: middle, y1: top, y2: bottom }));
  return svg('svg', {
    class: 'ladder-drawing', viewBox: `0 0 ${width} ${y + 8}`, width, height: y + 8, role: 'img',
    'aria-label': fill(WORDS.ladder, client, server),
  }, ...behind, ...parts);
}

/** Draws again what a closed part had no width for; before printing all are open. */
const redraws = [];

/** Draws into an element, again whenever its width changes. */
function drawLadder(host, index) {
  let drawn = 0;
  const draw = () => {
    const width = Math.round(Math.min(720, Math.max(280, host.clientWidth)));
    if (host.clientWidth === 0 || width === drawn) return;
    drawn = width;
    host.replaceChildren(ladder(index, width) ?? el('p', { class: 'small' }, WORDS.packetsLeftOut));
  };
  draw();
  new ResizeObserver(draw).observe(host);
  return draw;
}
