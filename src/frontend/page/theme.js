// Applies the colours that the reader chose, before anything is drawn.

try {
  const theme = JSON.parse(localStorage.getItem("toystore.theme"));
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // A browser that keeps nothing shows the system's colours.
}
