// Before anything is drawn: the theme the reader chose last time, if any.
try {
  const chosen = localStorage.getItem("orbitune-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch (error) { /* storage is forbidden here: the system's theme it is */ }
document.documentElement.classList.add("js");
