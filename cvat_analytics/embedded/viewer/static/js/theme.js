// Sets light or dark before anything is painted: the visitor's choice, else what the system prefers.
(() => {
  const root = document.documentElement;
  const system = matchMedia('(prefers-color-scheme: dark)');
  const apply = () => {
    root.dataset.theme = localStorage.getItem('theme') ?? (system.matches ? 'dark' : 'light');
    dispatchEvent(new CustomEvent('theme'));
  };
  apply();
  system.addEventListener('change', apply);
  addEventListener('DOMContentLoaded', () => {
    document.getElementById('theme')?.addEventListener('click', () => {
      const other = root.dataset.theme === 'dark' ? 'light' : 'dark';
      if (other === (system.matches ? 'dark' : 'light')) localStorage.removeItem('theme');
      else localStorage.setItem('theme', other);
      apply();
    });
  });
})();
