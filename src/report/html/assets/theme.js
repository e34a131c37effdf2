// Light or dark: as the system says until the reader chooses; print is always light.
'use strict';

const systemDark = matchMedia('(prefers-color-scheme: dark)');
const THEME_KEY = 'why502-theme';

function storedTheme() {
  try {
    return localStorage.getItem(THEME_KEY);
  } catch {
    return null; // A page opened from a file may have no storage.
  }
}

const isDark = () => (document.documentElement.dataset.theme
  ? document.documentElement.dataset.theme === 'dark' : systemDark.matches);

function showTheme() {
  byId('theme').textContent = isDark() ? WORDS.light : WORDS.dark;
  document.dispatchEvent(new CustomEvent('why502-theme'));
}

function startTheme() {
  const stored = storedTheme();
  if (stored === 'dark' || stored === 'light') document.documentElement.dataset.theme = stored;
  const button = byId('theme');
  button.hidden = false;
  button.addEventListener('click', () => {
    const theme = isDark() ? 'light' : 'dark';
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem(THEME_KEY, theme);
    } catch { /* It holds until the page is closed. */ }
    showTheme();
  });
  systemDark.addEventListener('change', showTheme);
  const print = byId('print');
  print.hidden = false;
  print.addEventListener('click', () => window.print());
  let before;
  addEventListener('beforeprint', () => {
    before = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = 'light';
    showTheme();
  });
  addEventListener('afterprint', () => {
    if (before) document.documentElement.dataset.theme = before;
    else delete document.documentElement.dataset.theme;
    showTheme();
  });
  showTheme();
}
