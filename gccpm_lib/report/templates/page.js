// One switch for all code; the contents start folded on narrow screens.
const codeSwitch = document.getElementById("all-code");
if (codeSwitch) {
  codeSwitch.addEventListener("change", () => {
    document.querySelectorAll("details.code").forEach((block) => { block.open = codeSwitch.checked; });
  });
}
const contents = document.querySelector("#contents details");
if (contents && matchMedia("(max-width: 60rem)").matches) contents.open = false;
addEventListener("beforeprint", () => { if (contents) contents.open = true; });
