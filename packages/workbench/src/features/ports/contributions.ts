/** Name of the view, and of the container in the panel that holds it. */
export const portsView = "dormouse.ports";

const category = "Ports";
const rowCommands = [
  { command: "dormouse.openPort", title: "Open in Browser", icon: "$(globe)" },
  { command: "dormouse.previewPort", title: "Preview in Editor", icon: "$(open-preview)" },
  { command: "dormouse.copyPortAddress", title: "Copy Address", icon: "$(copy)" },
  { command: "dormouse.setPortVisibility", title: "Change Visibility …" },
  { command: "dormouse.setPortProtocol", title: "Change Protocol …" },
  { command: "dormouse.setPortLabel", title: "Set Label …" },
  { command: "dormouse.createPortLink", title: "Copy Link for Somebody Else …" },
  { command: "dormouse.stopPort", title: "Stop Forwarding", icon: "$(close)" },
  { command: "dormouse.startPort", title: "Forward Again", icon: "$(play)" },
];
const viewCommands = [{ command: "dormouse.addPort", title: "Forward a Port …", icon: "$(add)" }];

const forwarded = `view == ${portsView} && viewItem == forwarded`;
const stopped = `view == ${portsView} && viewItem == stopped`;

/** What ports add to the editor: a view in the panel, commands for its rows and for the palette. */
export const portsContributions = {
  commands: [...rowCommands, ...viewCommands].map((command) => ({ ...command, category })),
  keybindings: [],
  viewsContainers: { panel: [{ id: "dormousePorts", title: "Ports", icon: "$(plug)" }] },
  views: { dormousePorts: [{ id: portsView, name: "Ports", icon: "$(plug)" }] },
  viewsWelcome: [
    {
      view: portsView,
      contents:
        "Nothing listens yet. A port appears here within a second after a program of the workspace has opened it.\n[Forward a Port](command:dormouse.addPort)",
    },
  ],
  menus: {
    "view/title": [{ command: "dormouse.addPort", when: `view == ${portsView}`, group: "navigation" }],
    "view/item/context": [
      ...["dormouse.copyPortAddress", "dormouse.previewPort", "dormouse.openPort"].map((command, index) => ({
        command,
        when: forwarded,
        group: `inline@${index + 1}`,
      })),
      ...["dormouse.openPort", "dormouse.previewPort", "dormouse.copyPortAddress"].map((command, index) => ({
        command,
        when: forwarded,
        group: `1_open@${index + 1}`,
      })),
      ...[
        "dormouse.setPortVisibility",
        "dormouse.createPortLink",
        "dormouse.setPortLabel",
        "dormouse.setPortProtocol",
      ].map((command, index) => ({ command, when: forwarded, group: `2_set@${index + 1}` })),
      { command: "dormouse.stopPort", when: forwarded, group: "3_stop" },
      { command: "dormouse.startPort", when: stopped, group: "inline" },
    ],
  },
};
