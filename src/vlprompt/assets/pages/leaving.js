// Asks before a reload or a closed tab loses work. Gradio hangs up as soon as that is asked, and the session would be gone for
// who then chooses to stay; so it is not told, for which this has to run before its own scripts. Who leaves hangs up anyway.
window.addEventListener("beforeunload", (event) => {
  if (document.querySelector(".class-card")) {
    event.preventDefault();
    event.returnValue = ""; // older browsers ask only for that
    event.stopImmediatePropagation();
  }
});
