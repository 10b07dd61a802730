// An editor, and beside it a test: code and a sample are posted to a URL, and the answer is shown.
//
// Posted is {"language", "code", "sample"}; answered {"result", "printed": [text], "error": {"message", "line"},
// "seconds"}. The editor stands in a shadow root, where its styles are constructed sheets, which every policy allows.
import { EditorView, drawSelection, highlightActiveLine, highlightSpecialChars, keymap, lineNumbers } from "@codemirror/view";
import { Compartment, EditorState } from "@codemirror/state";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { HighlightStyle, bracketMatching, foldGutter, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { lintGutter, setDiagnostics } from "@codemirror/lint";
import { tags } from "@lezer/highlight";
import { h, icon, put, token } from "./dom.js";

/** @type {Record<string, () => Promise<import("@codemirror/language").LanguageSupport>>} */
const LANGUAGES = {
  python: async () => (await import("@codemirror/lang-python")).python(),
  javascript: async () => (await import("@codemirror/lang-javascript")).javascript(),
  sql: async () => (await import("@codemirror/lang-sql")).sql(),
  json: async () => (await import("@codemirror/lang-json")).json(),
  yaml: async () => (await import("@codemirror/lang-yaml")).yaml(),
};
const LEAVE = "Tab indents; Esc, then Tab, leaves the editor.";
/** @type {Record<string, string>} */
const INDENT = { python: "    ", javascript: "  ", sql: "  ", json: "  ", yaml: "  " };

const look = EditorView.theme({
  "&": { color: "var(--text)", backgroundColor: "var(--surface)", fontSize: "13px", height: "100%" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "20px" },
  ".cm-content": { caretColor: "var(--text)", padding: "8px 0" },
  ".cm-gutters": { backgroundColor: "var(--sunken)", color: "var(--faint)", border: "none" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "var(--hover)" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--selection)" },
  ".cm-matchingBracket": { backgroundColor: "var(--accent-soft)", color: "inherit" },
  ".cm-panels, .cm-tooltip": { backgroundColor: "var(--surface)", color: "var(--text)", border: "1px solid var(--line)" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--accent)", color: "var(--on-accent)" },
  ".cm-lintRange-error": { backgroundImage: "none", textDecoration: "underline wavy var(--bad)" },
  ".cm-diagnostic-error": { borderLeftColor: "var(--bad)" },
  ".cm-lint-marker-error": { content: '"●"', color: "var(--bad)" },
});
const colours = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.modifier], color: "var(--code-keyword)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--code-string)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--code-number)" },
  { tag: [tags.comment], color: "var(--faint)", fontStyle: "italic" },
  { tag: [tags.function(tags.variableName), tags.definition(tags.variableName), tags.propertyName], color: "var(--code-name)" },
]);

// Chromium keeps the look of text that is typed over in a style attribute, which the policy forbids: it is replaced here.
const typedOver = EditorView.domEventHandlers({
  beforeinput(event, view) {
    const { from, to, empty } = view.state.selection.main;
    const { data } = event;
    if (event.inputType !== "insertText" || !data || empty || event.isComposing) return false;
    event.preventDefault();
    const insert = () => view.state.update(view.state.replaceSelection(data), { userEvent: "input.type", scrollIntoView: true });
    const handled = view.state.facet(EditorView.inputHandler).some((handle) => handle(view, from, to, data, insert));
    if (!handled) view.dispatch(insert());
    return true;
  },
});

/**
 * What a test answers.
 *
 * @typedef {{message: string, line?: number}} Wrong
 * @typedef {{result?: any, printed?: string[], error?: Wrong | null, seconds?: number | null}} Answer
 */

class Code extends HTMLElement {
  /** @type {HTMLTextAreaElement} */
  area;
  /** @type {string} */
  language;
  /** @type {HTMLElement} */
  box;
  /** @type {EditorView} */
  view;
  /** @type {{button: HTMLButtonElement, sample: EditorView, answer: HTMLElement} | undefined} where there is one */
  test;

  connectedCallback() {
    if (this.view) return;
    this.setAttribute("hx-morph-skip", "");
    this.area = /** @type {HTMLTextAreaElement} */ (this.querySelector("textarea[name]") ?? this.querySelector("textarea"));
    this.language = this.getAttribute("language") ?? "python";
    this.box = h("div", { class: "tg-code-box" });
    this.area.after(this.box);
    const rows = Math.min(Math.max(this.area.rows, 3), 40);
    this.box.style.setProperty("--rows", String(rows));
    this.view = this.editor(this.box, this.area, this.language);
    this.area.hidden = true;
    this.area.addEventListener("tg:restored", () => this.set(this.view, this.area.value));
    if (this.hasAttribute("test")) this.pane();
  }

  /**
   * An editor in an element, for what stands in a text area.
   *
   * @param {HTMLElement} place
   * @param {HTMLTextAreaElement} area
   * @param {string} language
   */
  editor(place, area, language) {
    const root = place.attachShadow({ mode: "open" });
    const grammar = new Compartment();
    const view = new EditorView({
      root,
      parent: root,
      doc: area.value,
      extensions: [
        EditorView.contentAttributes.of({ tabindex: "0" }), // what is read only is moved by the keyboard, too
        lineNumbers(), foldGutter(), history(), drawSelection(), indentOnInput(), bracketMatching(), closeBrackets(),
        autocompletion(), highlightSpecialChars(), highlightActiveLine(), highlightSelectionMatches(), search({ top: true }), lintGutter(),
        indentUnit.of(INDENT[language] ?? "  "), EditorState.tabSize.of(4), EditorState.readOnly.of(area.readOnly),
        look, syntaxHighlighting(colours), grammar.of([]), typedOver,
        EditorView.contentAttributes.of({ "aria-label": area.getAttribute("aria-label") ?? language, "aria-description": LEAVE }),
        keymap.of([
          { key: "Mod-Enter", run: () => (this.run(), true) },
          ...closeBracketsKeymap, ...defaultKeymap, ...searchKeymap, ...historyKeymap, ...completionKeymap, indentWithTab,
        ]),
        EditorView.updateListener.of((update) => update.docChanged && put(area, update.state.doc.toString())),
      ],
    });
    // Without its language the editor has no colours, and works.
    LANGUAGES[language]?.().then((found) => view.dispatch({ effects: grammar.reconfigure(found) }), () => {});
    return view;
  }

  /**
   * Put another text into an editor, as an edit that can be undone.
   *
   * @param {EditorView} view
   * @param {string} text
   */
  set(view, text) {
    if (view.state.doc.toString() !== text) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
  }

  get value() {
    return this.view.state.doc.toString();
  }

  set value(text) {
    this.set(this.view, text);
  }

  pane() {
    const given = /** @type {HTMLTextAreaElement} */ (this.querySelector(".tg-code-sample"));
    const place = h("div", { class: "tg-code-box" });
    const answer = h("div", { class: "tg-code-answer", role: "status", "aria-live": "polite" }, h("p", { class: "faint" }, "What the code makes of the sample stands here."));
    const button = h("button", { type: "button", class: "button", onclick: () => this.run() }, icon("run"), "Run the test");
    const part = (/** @type {string} */ title, /** @type {Element[]} */ ...content) => h("div", { class: "tg-code-part" }, h("p", { class: "tg-code-title" }, title), ...content);
    this.append(
      h("div", { class: "tg-code-test" }, h("div", { class: "tg-code-bar" }, button, h("span", { class: "faint" }, `Ctrl + Enter. ${LEAVE}`)),
        h("div", { class: "tg-code-panes" }, part("Sample", place), part("Result", answer))),
    );
    const sample = this.editor(place, given, "json");
    given.addEventListener("tg:restored", () => this.set(sample, given.value));
    this.test = { button, sample, answer };
  }

  async run() {
    if (!this.test || this.test.button.disabled) return;
    const { button, sample } = this.test;
    button.disabled = true;
    let answer;
    try {
      const sent = await fetch(this.getAttribute("test") ?? "", {
        method: "POST",
        headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRF-Token": token() },
        body: JSON.stringify({ language: this.language, code: this.value, sample: sample.state.doc.toString() }),
        credentials: "same-origin",
      });
      answer = await sent.json();
      if (!sent.ok && !answer.error) answer = { error: { message: answer.detail ?? answer.title ?? `The server answered ${sent.status}.` } };
    } catch {
      answer = { error: { message: "The server did not answer; check the connection and try again." } };
    }
    button.disabled = false;
    this.show(answer);
  }

  /** @param {Answer} answer */
  show({ result, printed = [], error = null, seconds = null }) {
    const lines = [];
    if (error) {
      const at = error.line ? `Line ${error.line}: ` : "";
      lines.push(h("p", { class: "tg-code-error" }, icon("bad"), h("span", {}, at + error.message)));
    } else if (result === null || result === undefined) lines.push(h("p", {}, "The record is left out."));
    else lines.push(h("pre", {}, JSON.stringify(result, null, 2)));
    if (printed.length) lines.push(h("p", { class: "tg-code-title" }, "Printed"), h("pre", { class: "tg-code-printed" }, printed.join("\n")));
    if (seconds !== null) lines.push(h("p", { class: "faint" }, `${(seconds * 1000).toFixed(seconds < 0.1 ? 1 : 0)} ms`));
    this.test?.answer.replaceChildren(...lines);
    this.mark(error);
    this.dispatchEvent(new CustomEvent("tg:tested", { bubbles: true, detail: { ok: !error } }));
  }

  /** @param {Wrong | null} error */
  mark(error) {
    const { doc } = this.view.state;
    /** @type {import("@codemirror/lint").Diagnostic[]} */
    const found = [];
    if (error?.line && error.line >= 1 && error.line <= doc.lines) {
      const line = doc.line(error.line);
      found.push({ from: line.from, to: line.to, severity: "error", message: error.message });
    }
    this.view.dispatch(setDiagnostics(this.view.state, found));
  }
}

customElements.define("tg-code", Code);
