// Before the first paint: the theme that was chosen, else the one of the system (see styles/tokens.css).
try {
  var chosen = localStorage.getItem("tumbler-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch (error) {
  // No storage, no choice.
}
