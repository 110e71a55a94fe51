"""Where the platform is, whose key is sent there, and which organisation is meant."""

import json
import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from dormouse.credentials import find_credentials


class FindCredentials(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        environment = {"XDG_CONFIG_HOME": folder.name, "DORMOUSE_URL": "", "DORMOUSE_API_KEY": "", "DORMOUSE_ORG": ""}
        patch = mock.patch.dict(os.environ, environment)
        patch.start()
        self.addCleanup(patch.stop)
        file = Path(folder.name) / "dormouse" / "credentials.json"
        file.parent.mkdir()
        file.write_text(json.dumps({"url": "http://one.example", "apiKey": "saved", "organisation": "acme"}))

    def test_the_saved_organisation_is_for_the_saved_address(self) -> None:
        self.assertEqual(find_credentials(None, None), ("http://one.example", "saved", "acme"))
        self.assertIsNone(find_credentials("http://two.example", "given").organisation)

    def test_the_environment_goes_before_what_is_saved(self) -> None:
        with mock.patch.dict(os.environ, {"DORMOUSE_ORG": "other"}):
            self.assertEqual(find_credentials(None, None).organisation, "other")
            self.assertEqual(find_credentials("http://two.example", "given").organisation, "other")


if __name__ == "__main__":
    unittest.main()
