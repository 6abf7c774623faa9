// What a router of a single-page site does: the path says which page is shown.
document.getElementById("where").textContent = "page " + location.pathname;
