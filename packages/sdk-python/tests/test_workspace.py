import io
import os
import tempfile
import unittest
from unittest import mock

from dormouse import DormouseError, Workspace

from local_machine import LocalMachine, start_local_machine


class WorkspaceTest(unittest.TestCase):
    machine: LocalMachine

    @classmethod
    def setUpClass(cls) -> None:
        cls.machine = start_local_machine()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.machine.stop()

    def setUp(self) -> None:
        environment = {"DORMOUSE_URL": self.machine.url, "DORMOUSE_API_KEY": self.machine.api_key}
        patch = mock.patch.dict(os.environ, environment)
        patch.start()
        self.addCleanup(patch.stop)

    def test_lives_as_long_as_its_block(self) -> None:
        with Workspace.create(template="base", ttl_seconds=3600) as env:
            self.assertEqual(env.state, "running")
            assert env.expires_at is not None
            self.assertIn(env.id, [other.id for other in Workspace.list()])
            self.assertEqual(Workspace.connect(env.name).id, env.id)
            env.hibernate()
            self.assertEqual(env.state, "hibernated")
            env.wake()
            env.set_ttl(None)
            self.assertIsNone(env.expires_at)
        self.assertNotIn(env.id, [other.id for other in Workspace.list()])
        env.kill()

    def test_is_deleted_when_its_block_fails(self) -> None:
        with self.assertRaises(KeyError):
            with Workspace.create() as env:
                raise KeyError("mine")
        self.assertEqual(Workspace.list(), [])
        env.close()

    def test_says_what_would_be_lost(self) -> None:
        with Workspace.create() as env:
            self.assertIsNone(env.unpushed_work())
        with Workspace.create(name="dirty") as env:
            work = env.unpushed_work()
            assert work is not None
            self.assertEqual((work["branch"], work["changedFiles"], work["commits"]), ("main", 3, 1))

    def test_runs_commands(self) -> None:
        with Workspace.create() as env:
            result = env.exec('cat; echo "$GREETING $PWD"; echo oops >&2; exit 3', cwd="/usr", env={"GREETING": "hi"}, stdin="typed ")
            self.assertEqual((result.exit_code, result.stdout, result.stderr), (3, "typed hi /usr\n", "oops\n"))
            self.assertEqual(env.exec(["printf", "%s|", "a b", "$HOME"]).stdout, "a b|$HOME|")

    def test_a_time_out_is_a_result(self) -> None:
        with Workspace.create() as env:
            result = env.exec("sleep 600", timeout_seconds=0.1)
            self.assertTrue(result.timed_out)
            self.assertNotEqual(result.exit_code, 0)

    def test_follows_what_takes_longer_than_a_request(self) -> None:
        with Workspace.create() as env, mock.patch("dormouse.workspace._QUICK_SECONDS", 0.1):
            result = env.exec("echo begin; sleep 0.5; echo end; echo err >&2; exit 4")
            self.assertEqual((result.exit_code, result.stdout, result.stderr), (4, "begin\nend\n", "err\n"))
            self.assertGreaterEqual(result.duration_seconds, 0.5)

    def test_streams_output(self) -> None:
        pieces = []
        with Workspace.create() as env:
            result = env.exec("printf 'caf\\303'; sleep 0.2; printf '\\251\\n'", on_stdout=pieces.append)
            self.assertEqual(result.stdout, "café\n")
            self.assertEqual("".join(pieces), "café\n")
            self.assertGreater(len(pieces), 1)

    def test_keeps_files(self) -> None:
        folder = self.machine.folder + "/python"
        with Workspace.create() as env:
            files = env.filesystem
            files.write(folder + "/deep/script.sh", "echo größer\n", mode=0o755)
            self.assertEqual(files.read(folder + "/deep/script.sh"), "echo größer\n")
            self.assertEqual(files.stat(folder + "/deep/script.sh").mode & 0o777, 0o755)
            self.assertEqual(env.exec(folder + "/deep/script.sh").stdout, "größer\n")
            blob = os.urandom(3_000_000)
            files.write(folder + "/blob", io.BytesIO(blob))
            target = io.BytesIO()
            self.assertEqual(files.download(folder + "/blob", target), len(blob))
            self.assertEqual(target.getvalue(), blob)
            files.make_dir(folder + "/a/b")
            files.rename(folder + "/blob", folder + "/a/blob")
            self.assertEqual([entry.name for entry in files.list(folder + "/a")], ["b", "blob"])
            self.assertTrue(files.exists(folder + "/a"))
            files.remove(folder + "/a", recursive=True)
            self.assertFalse(files.exists(folder + "/a"))
            with self.assertRaises(DormouseError) as caught:
                files.read(folder + "/gone")
            self.assertEqual(caught.exception.code, "not_found")

    def test_names_that_are_not_utf8(self) -> None:
        folder = self.machine.folder + "/bytes"
        name = os.fsdecode(b"caf\xe9")
        with Workspace.create() as env:
            env.filesystem.write("%s/%s" % (folder, name), "x")
            self.assertEqual(os.listdir(os.fsencode(folder)), [b"caf\xe9"])
            self.assertEqual([entry.name for entry in env.filesystem.list(folder)], [name])

    def test_a_connection_that_the_server_closed_is_no_failure(self) -> None:
        with Workspace.create() as env:
            connection = env._connection._local.connection
            # The server's end of an idle connection.
            connection.sock.shutdown(2)
            self.assertEqual(env.exec("echo still here").stdout, "still here\n")

    def test_refusals_say_why(self) -> None:
        with self.assertRaises(DormouseError) as caught:
            Workspace.create(template="missing")
        self.assertEqual(caught.exception.code, "not_found")
        self.assertEqual(str(caught.exception), "template is missing: there are base")
        with self.assertRaises(DormouseError) as caught:
            Workspace.connect("nobody")
        self.assertEqual(caught.exception.code, "not_found")
        with self.assertRaises(DormouseError) as caught:
            Workspace.list(api_key="wrong")
        self.assertEqual(caught.exception.code, "unauthenticated")
        with self.assertRaises(DormouseError) as caught:
            Workspace.list(url="http://127.0.0.1:9")
        self.assertEqual(caught.exception.code, "unavailable")
        self.assertIn("127.0.0.1:9", str(caught.exception))
        with self.assertRaises(DormouseError) as caught:
            Workspace.list(url="127.0.0.1:7070")
        self.assertEqual(caught.exception.code, "invalid_argument")


class CredentialsTest(unittest.TestCase):
    def test_a_saved_key_is_sent_only_where_it_was_made(self) -> None:
        from dormouse.credentials import find_credentials

        with tempfile.TemporaryDirectory() as home:
            os.makedirs(home + "/dormouse")
            with open(home + "/dormouse/credentials.json", "w") as file:
                file.write('{"url": "http://one.example:7070", "apiKey": "secret"}')
            with mock.patch.dict(os.environ, {"XDG_CONFIG_HOME": home}, clear=True):
                self.assertEqual(find_credentials(None, None), ("http://one.example:7070", "secret", None))
                with self.assertRaises(DormouseError) as caught:
                    find_credentials("http://other.example", None)
                self.assertEqual(caught.exception.code, "unauthenticated")
                with open(home + "/dormouse/credentials.json", "w") as file:
                    file.write("secret{")
                with self.assertRaises(DormouseError) as caught:
                    find_credentials(None, None)
                self.assertIn("credentials.json", str(caught.exception))
                self.assertNotIn("secret", str(caught.exception))

    def test_the_organisation_that_is_meant_is_the_environments_or_the_saved_one_of_the_same_address(self) -> None:
        from dormouse.credentials import find_credentials

        with tempfile.TemporaryDirectory() as home:
            os.makedirs(home + "/dormouse")
            with open(home + "/dormouse/credentials.json", "w") as file:
                file.write('{"url": "http://one.example", "apiKey": "saved", "organisation": "acme"}')
            with mock.patch.dict(os.environ, {"XDG_CONFIG_HOME": home}, clear=True):
                self.assertEqual(find_credentials(None, None), ("http://one.example", "saved", "acme"))
                self.assertIsNone(find_credentials("http://two.example", "given").organisation)
                with mock.patch.dict(os.environ, {"DORMOUSE_ORG": "other"}):
                    self.assertEqual(find_credentials(None, None).organisation, "other")
                    self.assertEqual(find_credentials("http://two.example", "given").organisation, "other")


if __name__ == "__main__":
    unittest.main()
