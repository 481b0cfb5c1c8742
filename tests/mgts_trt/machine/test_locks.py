import subprocess
import sys
from pathlib import Path

from mgts_trt.machine.locks import locked
from tests.helpers.paths import ROOT

HOLD = """
import sys, time
from pathlib import Path
from mgts_trt.machine.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_it_waits_and_says_so_and_a_killed_holder_lets_go(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert holder.stdout.readline() == "held\n"
    with locked(tmp_path, on_wait=lambda: (holder.kill(), holder.wait())):
        assert holder.returncode, "it was waited for until it was killed"
    holder.stdout.close()
    with locked(tmp_path, on_wait=lambda: (_ for _ in ()).throw(AssertionError("nobody holds it"))):
        pass
