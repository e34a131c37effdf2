// Starts each part; one that fails does not take the others with it.
'use strict';

function start(part, host) {
  try {
    part();
  } catch (error) {
    console.error(error);
    byId(host)?.append(el('p', { class: 'notice' }, fill(WORDS.broken, String(error))));
  }
}

start(startTheme, 'answer');
start(startList, 'findings');
start(startTimeline, 'over-time');
start(startStrips, 'targets');
start(() => {
  document.querySelectorAll('.card .ladder[data-finding]').forEach((host) => {
    redraws.push(drawLadder(host, Number(host.dataset.finding)));
  });
  document.querySelectorAll('button.copy[data-copy]').forEach(makeCopyable);
  if (DATA.withoutPackets > 0) {
    byId('left-out').hidden = false;
    byId('left-out').textContent = fill(WORDS.withoutPackets, count(DATA.withoutPackets));
  }
}, 'details');
// Print shows every cause and target, open or not.
let opened = [];
addEventListener('beforeprint', () => {
  opened = [...document.querySelectorAll('details.card:not([open])')];
  opened.forEach((card) => { card.open = true; });
  redraws.forEach((draw) => draw());
});
addEventListener('afterprint', () => opened.forEach((card) => { card.open = false; }));
// A link into a closed part opens it.
function openTarget() {
  const target = location.hash.length > 1 && !location.hash.includes('=') ? byId(decodeURIComponent(location.hash.slice(1))) : null;
  let closed = target?.closest('details:not([open])');
  if (!closed) return;
  for (; closed; closed = closed.parentElement.closest('details:not([open])')) closed.open = true;
  target.scrollIntoView();
}
addEventListener('hashchange', openTarget);
openTarget();
