/** What language servers add to the editor: commands and the setting for further servers. */
export const languageContributions = {
  commands: [
    { command: "dormouse.restartLanguageServer", title: "Restart Language Server...", category: "Dormouse" },
    { command: "dormouse.showLanguageServerLog", title: "Show Log of Language Server...", category: "Dormouse" },
    { command: "dormouse.languageServerOptions", title: "Options of a Language Server", category: "Dormouse" },
  ],
  menus: { commandPalette: [{ command: "dormouse.languageServerOptions", when: "false" }] },
  configuration: {
    title: "Dormouse",
    properties: {
      "dormouse.languageServers": {
        type: "object",
        scope: "window",
        default: {},
        markdownDescription:
          "Language servers of the machine beside its own, which are `typescript`, `python`, `json`, `css`, `html`, `yaml` and `bash`. One of these names takes the place of that server; `false` switches it off.",
        additionalProperties: {
          anyOf: [
            { const: false, description: "Switches the machine's own server off." },
            {
              type: "object",
              required: ["command", "languages"],
              additionalProperties: false,
              properties: {
                command: {
                  type: "array",
                  items: { type: "string" },
                  minItems: 1,
                  description: "Program and arguments. It speaks the protocol through its standard streams.",
                },
                languages: {
                  type: "array",
                  items: { type: "string" },
                  minItems: 1,
                  description: "Languages of the editor that it is for.",
                },
              },
              defaultSnippets: [{ body: { command: ["$1"], languages: ["$2"] } }],
            },
          ],
        },
      },
    },
  },
};
