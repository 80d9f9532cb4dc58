"""`kubectl kdns completion`: installs the program by which kubectl completes, or prints it for a shell."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from kubectl_kdns.cli.options import Options, command, flag
from kubectl_kdns.errors import InputError, UsageError, did_you_mean

DESCRIPTION = (
    "kubectl completes plugins by a program named kubectl_complete-kdns on the PATH, which krew cannot install: "
    "`completion install` writes it beside kubectl-kdns. With kubectl's own completion on (kubectl completion --help), "
    "`kubectl kdns <TAB>` then offers commands, flags, values, and the names of pods, workloads, nodes and namespaces."
)
EXAMPLES = """
kubectl kdns completion install
kubectl kdns completion install --dir ~/bin

# for kubectl-kdns typed with a dash
source <(kubectl kdns completion bash)
"""
PROGRAM = "kubectl_complete-kdns"
SHIM = """#!/bin/sh
# Written by `kubectl kdns completion install`: how kubectl completes `kubectl kdns`.
exec kubectl-kdns __complete "$@"
"""
SCRIPTS = {
    "bash": """_kubectl_kdns() {
    local out
    out="$(kubectl-kdns __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)"
    local IFS=$'\\n'
    COMPREPLY=($(printf '%s\\n' "$out" | sed -e '/^:[0-9]*$/d' -e 's/\\t.*//'))
}
complete -o default -F _kubectl_kdns kubectl-kdns
""",
    "zsh": """#compdef kubectl-kdns
_kubectl_kdns() {
    local -a found
    local line
    for line in ${(f)"$(kubectl-kdns __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"}; do
        [[ $line == :<-> ]] && continue
        found+=("${${line%%$'\\t'*}//:/\\\\:}${line:+:}${line#*$'\\t'}")
    done
    _describe kubectl-kdns found
}
compdef _kubectl_kdns kubectl-kdns
""",
    "fish": """complete -c kubectl-kdns -f -a '(kubectl-kdns __complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null | string match -v -r "^:[0-9]+\\$")'
""",
    "powershell": """Register-ArgumentCompleter -Native -CommandName kubectl-kdns -ScriptBlock {
    param($word, $ast, $position)
    $words = @($ast.CommandElements | Select-Object -Skip 1 | ForEach-Object { $_.ToString() })
    # Before 7.3 PowerShell leaves an empty argument out.
    if ($word -eq '') { $words += $(if ($PSVersionTable.PSVersion -lt [version]'7.3') { '""' } else { '' }) }
    kubectl-kdns __complete @words 2>$null | Where-Object { $_ -notmatch '^:\\d+$' } | ForEach-Object {
        $text, $meaning = $_ -split "`t", 2
        [System.Management.Automation.CompletionResult]::new($text, $text, 'ParameterValue', $(if ($meaning) { $meaning } else { $text }))
    }
}
""",
}


class CompletionOptions(Options):
    """What to do."""

    what: str = flag(
        metavar="install|bash|zsh|fish|powershell", help="Install for kubectl, or print", default=""
    )
    dir: str = flag("--dir", metavar="DIR", help="Where to install; default: beside kubectl-kdns", default="")


GROUPS: list[type[Options]] = [CompletionOptions]


def run(options: CompletionOptions) -> None:
    """Writes or prints it."""
    allowed = ["install", *SCRIPTS]
    if options.what not in allowed:
        hint = did_you_mean(options.what, allowed) or f"one of {', '.join(allowed)}"
        raise UsageError(
            f"completion {options.what}: not known" if options.what else "completion of what?", hint=hint
        )
    if options.what != "install":
        sys.stdout.write(SCRIPTS[options.what])
        return
    if sys.platform == "win32":
        # By its source (1.34) it takes `kdns.exe` for the name of the command, and asks nobody about `kdns`.
        raise UsageError(
            "kubectl for Windows does not complete plugins",
            hint="kubectl kdns completion powershell (for kubectl-kdns typed with a dash)",
        )
    folder = Path(options.dir).expanduser() if options.dir else _own_folder()
    path = folder / PROGRAM
    try:
        path.write_text(SHIM)
        path.chmod(0o755)
    except OSError as error:
        raise InputError(
            f"cannot write {path}",
            cause=error.strerror or "",
            hint="--dir a folder of your PATH, such as ~/bin",
        ) from None
    print(f"wrote {path}")
    if str(folder) not in os.environ.get("PATH", "").split(os.pathsep):
        print(f"{folder} is not on your PATH: kubectl will not find it there", file=sys.stderr)


def _own_folder() -> Path:
    """Where kubectl-kdns is found, so that kubectl finds this one too."""
    found = shutil.which("kubectl-kdns")
    if not found:
        raise UsageError("kubectl-kdns is not on your PATH", hint="--dir a folder of your PATH")
    return Path(found).parent


COMMAND = command(GROUPS, run)
