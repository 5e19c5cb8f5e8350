"""The `tsnet` command.

    tsnet serve MODULE:APP | FOLDER | PORT      tsnet nc HOST PORT      tsnet run [-L …] -- COMMAND
    tsnet curl URL                              tsnet ping HOST         tsnet status
    tsnet state import FILE | show              tsnet tailnet            tsnet demo

What a command is for goes to stdout, what is said about it to stderr. Exit codes: 0 done, 1 it failed (one line says
why and what to do), 2 the command line makes no sense, 130 Ctrl-C, 143 SIGTERM (0 for what runs until then).
"""

from tsnet.cli.command import main as main
