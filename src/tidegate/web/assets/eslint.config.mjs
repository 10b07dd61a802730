// What ESLint looks for beyond what TypeScript's compiler finds, which knows every name and type.
import { createRequire } from "node:module";

const require = createRequire(new URL("../../../../.dev/web/", import.meta.url));
const { configs } = require("@eslint/js");

export default [
  configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: "error", reportUnusedInlineConfigs: "error" },
    rules: {
      "array-callback-return": "error",
      "dot-notation": "error",
      eqeqeq: "error",
      "no-constructor-return": "error",
      "no-else-return": ["error", { allowElseIf: true }],
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-lonely-if": "error",
      "no-new-func": "error",
      "no-self-compare": "error",
      "no-shadow": "error",
      "no-throw-literal": "error",
      "no-unmodified-loop-condition": "error",
      "no-unneeded-ternary": "error",
      "no-unreachable-loop": "error",
      "no-useless-concat": "error",
      "no-useless-rename": "error",
      "no-useless-return": "error",
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": "error",
      "prefer-object-spread": "error",
      "prefer-template": "error",
      "require-await": "error",
    },
  },
  { files: ["js/**"], rules: { "no-undef": "off" } },
  { files: ["*.mjs"], languageOptions: { globals: { URL: "readonly", console: "readonly", process: "readonly" } } },
];
