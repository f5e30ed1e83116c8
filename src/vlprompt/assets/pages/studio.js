// Names buttons for those who hear the page.
const named = (element, words) => {
  if (element && element.getAttribute("aria-label") !== words) element.setAttribute("aria-label", words);
};
const nameAll = () => {
  for (const card of document.querySelectorAll(".class-card")) {
    const name = card.querySelector(".card b")?.textContent ?? "";
    named(card.querySelector("button.remove"), `Remove the class ${name}`);
    named(card.querySelector("button.correct"), `Correct the pictures or the name of ${name}`);
    for (const part of card.querySelectorAll(".drop button, .drop input")) named(part, `Pictures of ${name}`);
  }
  for (const [id, words] of [["try-drop", "Pictures to ask about"], ["reopen", "Zip file of a run"]])
    for (const part of document.querySelectorAll(`#${id} button, #${id} input`)) named(part, words);
  for (const [id, words] of [
    ["class-name", "Name of a new class"],
    ["extra-name", "Name of a class without pictures"],
    ["folder", "A folder of class folders"],
  ])
    for (const part of document.querySelectorAll(`#${id} input, #${id} textarea`)) named(part, words);
  for (const tick of document.querySelectorAll(".tick"))
    named(tick.querySelector("input"), `Choose ${tick.querySelector("img")?.alt ?? ""}`);
};
new MutationObserver(nameAll).observe(document.documentElement, { childList: true, subtree: true });
nameAll();
