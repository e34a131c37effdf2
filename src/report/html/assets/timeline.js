// Requests and failures over time, stacked, with the checks of each target on the same axis.
'use strict';

const CHART_HEIGHT = 220;
/** Below this share of the highest column failures would be too low to see beside the requests. */
const TOO_LOW = 0.04;

const timeline = { plot: null, range: null, whole: null, hidden: new Set() };

/** Failures at the bottom, requests without failure on top of them. */
function layers() {
  const { failures, sound } = DATA.time;
  const name = (one) => {
    if (one.group === null) return WORDS.others;
    const group = DATA.groups[one.group];
    return group.kind === 'health-check' ? fill(WORDS.failedCheck, group.id) : group.id;
  };
  return [
    ...failures.map((one) => ({ name: name(one), colour: colourClass(one.group), counts: one.counts })),
    ...(sound.some((n) => n > 0) ? [{ name: WORDS.noFailure, colour: 'sound', counts: sound }] : []),
  ];
}

/** uPlot paints later series over earlier ones: the sum of all comes first. */
function stacked(all) {
  const { start, width, sound } = DATA.time;
  const xs = sound.map((_, n) => epoch(start + n * width));
  const sums = new Array(sound.length).fill(0);
  const series = all.map((layer, n) => {
    if (!timeline.hidden.has(n)) layer.counts.forEach((value, at) => { sums[at] += value; });
    return timeline.hidden.has(n) ? sums.map(() => null) : sums.map((sum, at) => (layer.counts[at] ? sum : null));
  });
  return [xs, ...series.reverse()];
}

/** Labels of the axis of time, in UTC, as fine as its steps. */
function timeLabels(_, splits, __, ___, step) {
  let before = '';
  return splits.map((s) => {
    const date = new Date(s * 1000);
    if (Number.isNaN(date.getTime())) return '';
    const [day, time] = date.toISOString().split('T');
    const clock = step < 1 ? time.slice(3, 12) : step < 60 ? time.slice(0, 8) : time.slice(0, 5);
    const label = step >= 86400 ? day.slice(5) : day !== before && before !== '' ? `${clock}\n${day.slice(5)}` : clock;
    before = day;
    return label;
  });
}

const nanosOf = (s) => (s - BASE_S) * 1e9;

function options(all, width) {
  const [text_, grid] = [styleOf('--muted'), styleOf('--line')];
  const font = '12px system-ui, sans-serif';
  const bars = uPlot.paths.bars({ size: [1, Infinity], align: 1, gap: 0 });
  const series = all.map((layer) => ({
    label: layer.name, fill: styleOf(`--${layer.colour}`), width: 0, paths: bars, points: { show: false },
  }));
  return {
    width,
    height: CHART_HEIGHT,
    padding: [8, 12, 0, 0],
    legend: { show: false },
    tzDate: (s) => uPlot.tzDate(new Date(s * 1000), 'Etc/UTC'),
    cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } },
    scales: { x: { range: () => timeline.range }, y: { range: (_, __, max) => [0, Math.max(1, max * 1.05)] } },
    axes: [
      { stroke: text_, font, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid }, values: timeLabels, space: 70 },
      { stroke: text_, font, grid: { stroke: grid, width: 1 }, ticks: { show: false }, size: 48, space: 36,
        incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 1e7, 1e8],
        values: (_, splits) => splits.map(count) },
    ],
    series: [{}, ...series.reverse()],
    hooks: { setSelect: [selected], setCursor: [(plot) => tell(plot, all)], draw: [alongStrips] },
  };
}

function selected(plot) {
  if (plot.select.width < 4) return;
  const [from, to] = [plot.select.left, plot.select.left + plot.select.width].map((x) => plot.posToVal(x, 'x'));
  plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  zoom(from, to);
}

/** Shows a span, in seconds, never more than everything and never less than a thousandth of a span. */
function zoom(from, to) {
  const [first, last] = timeline.whole;
  const least = Math.max(DATA.time.width / 1e9 / 1000, 1e-6);
  const length = Math.min(Math.max(to - from, least), last - first);
  const start = Math.min(Math.max(from, first), last - length);
  const everything = length >= (last - first) * 0.999;
  timeline.range = everything ? timeline.whole : [start, start + length];
  timeline.plot.setScale('x', { min: timeline.range[0], max: timeline.range[1] });
  byId('everything').hidden = everything;
  if (everything) setRange(null, null);
  else setRange(Math.floor(nanosOf(timeline.range[0])), Math.ceil(nanosOf(timeline.range[1])));
}

function alongStrips(plot) {
  const ratio = devicePixelRatio || 1;
  drawStrips(...timeline.range.map(nanosOf), plot.bbox.left / ratio, plot.bbox.width / ratio);
}

/** Says in words what is under the cursor. */
function tell(plot, all) {
  const at = plot.cursor.left < 0 ? null : Math.floor((nanosOf(plot.posToVal(plot.cursor.left, 'x')) - DATA.time.start) / DATA.time.width);
  const line = byId('under-cursor');
  if (at === null || at < 0 || at >= DATA.time.sound.length) {
    line.textContent = fill(WORDS.per, nanos(DATA.time.width));
    return;
  }
  const counts = all.filter((layer) => layer.counts[at]).map((layer) => `${count(layer.counts[at])} ${layer.name}`);
  line.textContent = `${moment(DATA.time.start + at * DATA.time.width, DATA.time.width < 1e9 ? 3 : 0)[1]}: ${counts.join(', ') || '0'}`;
}

function legend(all) {
  const buttons = all.map((layer, n) => {
    const button = el('button', { type: 'button', class: `key ${layer.colour}`, 'aria-pressed': String(!timeline.hidden.has(n)) },
      el('i', { class: 'swatch' }), `${layer.name} ${count(layer.counts.reduce((sum, one) => sum + one, 0))}`);
    button.addEventListener('click', () => {
      if (timeline.hidden.has(n)) timeline.hidden.delete(n);
      else timeline.hidden.add(n);
      button.setAttribute('aria-pressed', String(!timeline.hidden.has(n)));
      timeline.plot.setData(stacked(all), false);
      timeline.plot.setScale('x', { min: timeline.range[0], max: timeline.range[1] });
    });
    return button;
  });
  return el('div', { class: 'legend' }, ...buttons);
}

function onChartKey(event) {
  const [from, to] = timeline.range;
  const length = to - from;
  const act = {
    '+': () => zoom(from + length / 4, to - length / 4),
    '=': () => zoom(from + length / 4, to - length / 4),
    '-': () => zoom(from - length / 2, to + length / 2),
    ArrowLeft: () => zoom(from - length / 4, to - length / 4),
    ArrowRight: () => zoom(from + length / 4, to + length / 4),
    0: () => zoom(...timeline.whole),
  }[event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
}

function startTimeline() {
  const host = byId('timeline');
  const happened = DATA.time && (DATA.time.failures.length > 0 || DATA.time.sound.some((n) => n > 0));
  if (!DATA.time || !(happened || DATA.targets.some((target) => target.checks.length > 0))) {
    document.querySelector('nav a[href="#over-time"]')?.remove();
    return;
  }
  byId('over-time').hidden = false;
  const all = layers();
  const highest = (some) => Math.max(0, ...DATA.time.sound.map((_, at) => some.reduce((sum, layer) => sum + layer.counts[at], 0)));
  const failures = highest(all.slice(0, DATA.time.failures.length));
  if (failures > 0 && failures < highest(all) * TOO_LOW) timeline.hidden.add(all.length - 1);
  timeline.whole = wholeSpan().map(epoch);
  timeline.range = timeline.whole;
  const chart = el('div', { class: 'chart' });
  const reset = el('button', { type: 'button', id: 'everything', hidden: true }, WORDS.everything);
  reset.addEventListener('click', () => zoom(...timeline.whole));
  host.append(legend(all), el('div', { class: 'chart-line' }, el('p', { id: 'under-cursor', class: 'small' }, fill(WORDS.per, nanos(DATA.time.width))), reset), chart);
  const draw = () => {
    timeline.plot?.destroy();
    timeline.plot = new uPlot(options(all, Math.max(240, chart.clientWidth)), stacked(all), chart);
    timeline.plot.over.addEventListener('dblclick', () => zoom(...timeline.whole));
  };
  draw();
  list.onRange = () => zoom(...timeline.whole);
  host.addEventListener('keydown', onChartKey);
  document.addEventListener('why502-theme', draw);
  let width = chart.clientWidth;
  new ResizeObserver(calm(60, () => {
    if (chart.clientWidth === width) return;
    width = chart.clientWidth;
    timeline.plot.setSize({ width: Math.max(240, width), height: CHART_HEIGHT });
  })).observe(chart);
}
