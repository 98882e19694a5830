"""Runs h2spec and tells its cases as TAP. A case that failed gets one more try by itself: some of them race with the answer to the request
they break (6.9/2: a provider that answers at once has closed the stream before the bad frame arrives), and a fault of ours fails again. That
try is given ten seconds instead of one for each answer, in which no machine is too slow."""
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

EXPECTED = 146  # of h2spec 2.2.1, strict: fewer means that it did not get through


def run(command):
    """Returns [(spec of the case, its description, what is wrong or None)]."""
    with tempfile.TemporaryDirectory(prefix="h2spec.") as folder:
        report = os.path.join(folder, "report.xml")
        subprocess.run(command + ["-j", report], stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=sys.stderr, timeout=200, check=False)
        with open(report, encoding="utf-8", errors="replace") as f:
            # h2spec writes the bytes that it got into its report as they are, and XML has no place for most control characters.
            clean = re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd]|&#x?[0-9a-fA-F]+;", "?", f.read())
        cases = []
        for suite in ElementTree.fromstring(clean.encode()).iter("testsuite"):
            for number, case in enumerate(suite.iter("testcase"), 1):
                wrong = case.find("failure")
                if wrong is None:
                    wrong = case.find("error")
                spec = "%s/%d" % (suite.get("package"), number)
                cases.append((spec, case.get("classname"), None if wrong is None else " ".join((wrong.text or "failed").split())))
        return cases


def main():
    command = sys.argv[1:]
    cases = run(command)
    print("1..%d" % max(EXPECTED, len(cases)))
    for number, (spec, text, wrong) in enumerate(cases, 1):
        if wrong and not any(w for s, _, w in run(command + ["-o", "10", spec]) if s == spec):
            wrong = None
        print("%sok %d - %s %s%s" % ("not " if wrong else "", number, spec, re.sub(r"\s+", " ", text or ""), ": " + wrong if wrong else ""))


main()
