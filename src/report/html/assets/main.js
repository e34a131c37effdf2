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
  document.querySelectorAll('.card .ladder[data-finding]').forEach((host) => drawLadder(host, Number(host.dataset.finding)));
  document.querySelectorAll('button.copy[data-copy]').forEach(makeCopyable);
  if (DATA.withoutPackets > 0) {
    byId('left-out').hidden = false;
    byId('left-out').textContent = fill(WORDS.withoutPackets, count(DATA.withoutPackets));
  }
}, 'details');
// A link into a closed part opens it.
function openTarget() {
  const target = location.hash.length > 1 && !location.hash.includes('=') ? byId(decodeURIComponent(location.hash.slice(1))) : null;
  const closed = target?.closest('details:not([open])');
  if (closed) {
    closed.open = true;
    target.scrollIntoView();
  }
}
addEventListener('hashchange', openTarget);
openTarget();
