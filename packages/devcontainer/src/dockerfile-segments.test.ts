import { describe, expect, it } from "vitest";
import { dockerfileSegments } from "./dockerfile-segments.ts";

const segments = (lines: string[], options: { args?: Record<string, string>; target?: string } = {}) =>
  dockerfileSegments(`${lines.join("\n")}\n`, { architecture: "amd64", ...options });
const texts = (lines: string[]) => segments(lines).map(({ text }) => text.trimEnd().split("\n"));

describe("the segments of a Dockerfile", () => {
  it("end with what may take long, and the next one goes on from there", () => {
    expect(texts(["FROM a", "ENV X=1", "RUN make", "COPY . .", "RUN npm ci", "LABEL a=b"])).toEqual([
      ["FROM a", "ENV X=1", "RUN make"],
      ["FROM localhost/dormouse/stage-0", "COPY . .", "RUN npm ci"],
      ["FROM localhost/dormouse/stage-0", "LABEL a=b"],
    ]);
  });

  it.each(["RUN mkdir -p /a && chown 1:1 /a", "RUN echo a >/a; ln -s a b", "run useradd \\\n  dev"])(
    "%j goes with what follows",
    (quick) => {
      expect(segments(["FROM a", quick, "RUN make"])).toHaveLength(1);
    },
  );

  it.each([
    "RUN mkdir /a && make",
    'RUN ["echo", "a"]',
    "RUN echo $(make)",
    "RUN --network=none true",
    "RUN <<E\ntrue\nE",
    "RUN X=1 true",
    "RUN true & make",
  ])("%j ends one", (slow) => {
    expect(segments(["FROM a", slow, "RUN make"])).toHaveLength(2);
  });

  it.each(['CMD ["x"]', "VOLUME /data", "ONBUILD RUN make", "ARG A=$B"])(
    "after %s it is all one, as it would mean something else in an image",
    (bound) => {
      expect(segments(["FROM a", bound, "RUN make", "RUN more"])).toHaveLength(1);
    },
  );

  it("have the arguments of their stage that were declared before, and are given those that they can see", () => {
    const lines = ["ARG TAG=1", "FROM a:$TAG", "ARG ONE", "RUN x $ONE", "ARG TWO=2", "RUN y"];
    const args = { TWO: "two", TAG: "3", ONE: "one", NOBODY: "0", http_proxy: "p" };
    const [first, second] = segments(lines, { args });
    expect(first).toMatchObject({ images: ["a:3"], args: { TAG: "3", ONE: "one", http_proxy: "p" } });
    expect(first?.args).not.toHaveProperty("TWO");
    expect(second?.args).toEqual({ TWO: "two", TAG: "3", ONE: "one", http_proxy: "p" });
    expect(second?.text).toBe("ARG TAG=1\nFROM localhost/dormouse/stage-0\nARG ONE\nARG TWO=2\nRUN y\n");
    expect(second?.images).toEqual([]);
  });

  it("of several stages keep their names and numbers, those without files come first", () => {
    const lines = ["FROM a AS one", "COPY . .", "RUN x", "FROM b AS two", "RUN y", "FROM c", "RUN z"];
    const all = segments([...lines, "COPY --from=0 /x /x", "COPY --from=d:1 /e /e", "RUN w"]);
    expect(all.map(({ text }) => text.trimEnd().split("\n"))).toEqual([
      ["FROM scratch AS one", "FROM scratch AS two", "FROM c", "RUN z"],
      ["FROM a AS one", "COPY . .", "RUN x"],
      [
        "FROM localhost/dormouse/stage-0 AS one",
        "FROM scratch AS two",
        "FROM localhost/dormouse/stage-2",
        "COPY --from=0 /x /x",
        "COPY --from=d:1 /e /e",
        "RUN w",
      ],
    ]);
    expect(all.map(({ images, sources, image }) => [images, sources, image])).toEqual([
      [["c"], [], "localhost/dormouse/stage-2"],
      [["a"], ["."], "localhost/dormouse/stage-0"],
      [["d:1"], [], "localhost/dormouse/stage-2"],
    ]);
  });

  it("of a stage that another one starts from come before it", () => {
    expect(texts(["FROM a AS base", "COPY a .", "RUN x", "FROM base", "RUN y"])).toEqual([
      ["FROM a AS base", "COPY a .", "RUN x"],
      ["FROM localhost/dormouse/stage-0 AS base", "FROM base", "RUN y"],
    ]);
  });

  it("are those that the target needs", () => {
    const lines = ["FROM a AS one", "RUN x", "FROM b AS two", "RUN y"];
    expect(segments(lines, { target: "one" }).map(({ steps }) => steps.map(({ line }) => line))).toEqual([[1, 2]]);
  });

  it("know their lines, whatever stands between, and what goes on on the next line", () => {
    const [first, second] = segments(["# escape=`", "FROM a", "# why", "", "RUN x `", "  # no", "  y", "RUN z"]);
    expect(first?.steps.map(({ line, keyword }) => [line, keyword])).toEqual([
      [2, "FROM"],
      [5, "RUN"],
    ]);
    expect(first?.text).toMatch(/^# escape=`\nFROM a\nRUN x `\n/);
    expect(second?.text).toBe("# escape=`\nFROM localhost/dormouse/stage-0\nRUN z\n");
    expect(texts(["FROM a", "RUN x", "# something else", "", "RUN z"])).toEqual(texts(["FROM a", "RUN x", "RUN z"]));
  });

  it.each<[step: string, isRepeatable: boolean]>([
    ["ADD https://a.test/b.tar /b", false],
    ["ADD git@a.test:b.git /b", false],
    ["ADD $FROM /b", false],
    ["ADD --checksum=sha256:00 https://a.test/b.tar /b", true],
    ["ADD b.tar /b", true],
    ["RUN curl https://a.test", true],
  ])("%s can be kept: %s", (step, isRepeatable) => {
    expect(segments(["FROM a", "RUN x", step]).map((segment) => segment.isRepeatable)).toEqual([true, isRepeatable]);
  });

  it("with what may be another one each time come as late as they can", () => {
    const order = segments([
      "FROM a AS one",
      "ADD https://a.test/b /b",
      "RUN x",
      "FROM b",
      "RUN y",
      "COPY --from=one /b /b",
    ]);
    expect(order.map(({ image, isRepeatable }) => `${image.at(-1)} ${isRepeatable}`)).toEqual([
      "1 true",
      "0 false",
      "1 true",
    ]);
  });
});
