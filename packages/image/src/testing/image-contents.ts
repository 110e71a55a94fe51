import { run } from "@dormouse/base/node";

/** A file of an image, as Linux shows it. */
export interface ImageFile {
  /** As `find` has it: `f`, `d`, `l`, `c`, `b`, `p`. */
  type: string;
  mode: number;
  owner: string;
  modifiedSeconds: number;
  links: number;
  link?: string;
  content?: string;
  /** By name, in hexadecimal. */
  xattrs: Record<string, string>;
}

const script = `
import json, os, stat, sys
os.chdir(sys.argv[1])
kinds = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}
found = {}
for folder, folders, files in os.walk("."):
    for name in folders + files:
        path = os.path.join(folder, name)
        facts = os.lstat(path)
        kind = kinds[stat.S_IFMT(facts.st_mode)]
        item = {"type": kind, "mode": stat.S_IMODE(facts.st_mode), "owner": f"{facts.st_uid}:{facts.st_gid}",
                "modifiedSeconds": int(facts.st_mtime), "links": facts.st_nlink, "xattrs": {
                name: os.getxattr(path, name, follow_symlinks=False).hex() for name in os.listxattr(path, follow_symlinks=False)}}
        if kind == "l": item["link"] = os.readlink(path)
        if kind == "f" and facts.st_size < 4096: item["content"] = open(path, errors="replace").read()
        found[path[2:]] = item
print(json.dumps(found))
`;

/** All files of an EROFS image, by path. It is mounted where nobody else sees it, and nothing in it is run. */
export async function readImage(file: string): Promise<Record<string, ImageFile>> {
  const mount = 'mount -t tmpfs none /mnt && mount -t erofs -o loop,ro,nodev "$1" /mnt && exec python3 -c "$2" /mnt';
  const { stdout } = await run("unshare", ["--mount", "--", "sh", "-c", mount, "sh", file, script]);
  return JSON.parse(stdout);
}
