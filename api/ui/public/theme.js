// Before the first paint, and whenever the system changes: <html data-theme> is what was chosen, else what the system says.
(function () {
  var system = matchMedia("(prefers-color-scheme: dark)");
  function show() {
    var theme = system.matches ? "dark" : "light";
    try {
      var chosen = localStorage.getItem("tumbler-theme");
      if (chosen === "light" || chosen === "dark") theme = chosen;
    } catch (error) {
      // No storage, no choice.
    }
    document.documentElement.dataset.theme = theme;
    dispatchEvent(new Event("tumbler-theme"));
  }
  system.addEventListener("change", show);
  show();
})();
