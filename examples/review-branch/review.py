"""Reviews a branch in a machine of its own: clones it, builds it, runs its tests, and leaves nothing behind.

    PYTHONPATH=packages/sdk-python python3 examples/review-branch/review.py REPOSITORY BRANCH

The exit code is 0 when it builds and its tests pass, else 1.
"""

import sys

from dormouse import ExecResult, Workspace

# The arguments come as variables: nothing in a branch's name is ever read as a command.
SETUP = """#!/bin/bash
set -euo pipefail
git clone --quiet --depth 1 --branch "$BRANCH" -- "$REPOSITORY" /workspace/source
cd /workspace/source
make
"""


def review(repository: str, branch: str) -> int:
    # Deleted at the end of the block, however it ends; and by its time to live, should this program die.
    with Workspace.create(template="base", ttl_seconds=3600) as env:
        env.filesystem.write("/workspace/setup.sh", SETUP)

        variables = {"REPOSITORY": repository, "BRANCH": branch}
        build = env.exec("bash /workspace/setup.sh", timeout_seconds=600, env=variables)
        report("build", build)
        if build.exit_code != 0:
            return 1

        tests = env.exec("make test", timeout_seconds=600, cwd="/workspace/source")
        report("tests", tests)
        return 0 if tests.exit_code == 0 else 1


def report(step: str, result: ExecResult) -> None:
    tail = "\n".join((result.stdout + result.stderr).rstrip().split("\n")[-20:])
    print("%s: exit code %d%s\n%s\n" % (step, result.exit_code, " (timed out)" if result.timed_out else "", tail))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: review.py REPOSITORY BRANCH")
    sys.exit(review(sys.argv[1], sys.argv[2]))
