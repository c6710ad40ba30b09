"""Commands run in this process: what they print, and the one line of those that fail."""

from fastnn.__main__ import main


def printed(capsys, *words):
    """Run a command that must succeed and have nothing to complain about; return what it printed."""
    assert main([str(word) for word in words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def _left(capsys, words, status):
    """Run a command that must fail; return what it printed, and its one line."""
    try:
        code = main([str(word) for word in words])
    except SystemExit as leaving:  # argparse
        code = leaving.code
    out, err = capsys.readouterr()
    assert code == status, (code, out, err)
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    return out, err


def complaint(capsys, *words, status=1):
    """Run a command that must fail before it does anything; return its one line."""
    out, err = _left(capsys, words, status)
    assert out == ""
    return err


def shown(capsys, *words):
    """Run a demo that must succeed; return what it printed."""
    return printed(capsys, "demo", *words)


def failed(capsys, *words, status=1):
    """Run a demo that must fail; return its one line."""
    return _left(capsys, ("demo", *words), status)[1]
