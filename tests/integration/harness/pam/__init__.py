"""The real libpam, with services in a directory of the test's own and a module that is compiled for it.

libpam reads services only below /etc and /usr, unless a program says another directory (pam_start_confdir()); a
preloaded library says it for pgsluice (confdir.c). So no test needs root, and none touches the system's services.
"""
import os
import shutil
import subprocess

import pytest

from .. import util

HERE = os.path.dirname(os.path.abspath(__file__))


def compile_in(directory):
    """Both libraries, or the test is skipped: without a compiler and libpam's headers there is no such pgsluice either."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler")
    for name in ("module", "confdir"):
        done = subprocess.run([compiler, "-shared", "-fPIC", "-o", f"{directory}/{name}.so", f"{HERE}/{name}.c", "-lpam"], capture_output=True,
                              text=True, check=False)
        if "security/" in done.stderr:
            pytest.skip("there are no headers of libpam")
        assert done.returncode == 0, done.stderr
        os.chmod(f"{directory}/{name}.so", 0o755)


# What ThreadSanitizer cannot know: libraries that it does not see into. libaudit, for libpam, writes our program's name into a
# buffer of the whole process, the same each time; the loader, for modules, has locks of its own.
SUPPRESSED = "called_from_lib:libpam.so\ncalled_from_lib:libaudit.so\nrace:_dl_close_worker\nrace:_dl_new_object\n"


class Pam:
    """Services in .directory; users by .write_users({name: (password, what)})."""

    def __init__(self, users):
        self.directory = util.make_directory("pgs-pam-")
        compile_in(self.directory)
        self.write_users(users)
        self.notes = util.write_file(f"{self.directory}/notes", "", 0o666)

    def write_users(self, users):
        util.write_file(f"{self.directory}/users", "".join(f"{name} {password.replace(' ', '_')} {what}\n" for name, (password, what) in users.items()))

    def service(self, name, text=None):
        module = f"{self.directory}/module.so {self.directory}/users {self.directory}/notes"
        util.write_file(f"{self.directory}/{name}", text or f"auth required {module}\naccount required {module}\n")

    def noted(self):
        with open(self.notes, encoding="utf-8") as file:
            return file.read().splitlines()

    def go_on(self, user=None):
        """Those that hang; or one user's."""
        util.write_file(f"{self.directory}/users.go" + (f".{user}" if user else ""), "")

    def environment(self):
        options = os.environ.get("ASAN_OPTIONS")
        more = {"ASAN_OPTIONS": f"{options}:verify_asan_link_order=0"} if options is not None else {}
        options = os.environ.get("TSAN_OPTIONS")
        if options is not None:
            more["TSAN_OPTIONS"] = f"{options}:suppressions=" + util.write_file(f"{self.directory}/suppressed", SUPPRESSED)
        return {"LD_PRELOAD": f"{self.directory}/confdir.so", "PGS_TEST_PAM_DIR": self.directory, **more}

    def destroy(self):
        self.go_on()
        util.remove_directory(self.directory)
