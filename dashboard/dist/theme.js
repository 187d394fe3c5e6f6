// Runs before the first paint, so that a chosen theme does not flash. Without a choice the system's holds.
try {
  const { theme, language } = JSON.parse(localStorage.getItem('modelramp.preferences') || '{}');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  if (language === 'da' || language === 'en') document.documentElement.lang = language;
} catch {
  // Storage that is switched off or spoilt is no reason to show nothing.
}
