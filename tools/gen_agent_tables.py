"""Turns the BPF programs' ELF files into the C tables that the agent's loader reads.

Usage: gen_agent_tables.py OUT.h IN.o...; `make agent` calls it. It refuses whatever the loader does not know:
calls between programs, relocations other than a map's address, several programs in one section.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

INSTRUCTION_BYTES = 8
CALL = 0x85
R_BPF_64_64 = 1
EXECUTABLE = 4


class Unknown(Exception):
    """Something that the loader could not load."""


def main() -> int:
    out, *sources = sys.argv[1:]
    maps: list[str] = []
    programs: list[tuple[str, str, list[int], list[tuple[int, str]]]] = []
    for source in sources:
        with open(source, "rb") as file:
            elf = ELFFile(file)
            if elf.header.e_machine != "EM_BPF" or not elf.little_endian:
                raise Unknown(f"{source} is no little-endian BPF object")
            names = map_names(elf)
            maps += [name for name in names if name not in maps]
            programs += read_programs(elf, set(names))
    Path(out).write_text(render(maps, programs))
    return 0


def map_names(elf: Any) -> list[str]:
    """The maps, in the order of their definition."""
    section = next(i for i, s in enumerate(elf.iter_sections()) if s.name == ".maps")
    symbols = [
        s
        for s in elf.get_section_by_name(".symtab").iter_symbols()
        if s.entry.st_shndx == section and s.entry.st_info.type == "STT_OBJECT"
    ]
    return [s.name for s in sorted(symbols, key=lambda s: s.entry.st_value)]


def read_programs(elf: Any, maps: set[str]) -> list[tuple[str, str, list[int], list[tuple[int, str]]]]:
    """Name, section, instructions, and (instruction, map) where a map's address goes."""
    table = elf.get_section_by_name(".symtab")
    found = []
    for index, section in enumerate(elf.iter_sections()):
        header = section.header
        if header.sh_type != "SHT_PROGBITS" or not header.sh_flags & EXECUTABLE or not section.data_size:
            continue
        functions = [
            s
            for s in table.iter_symbols()
            if s.entry.st_shndx == index and s.entry.st_info.type == "STT_FUNC"
        ]
        if len(functions) != 1 or functions[0].entry.st_value:
            raise Unknown(f"section {section.name} must hold one program")
        code = section.data()
        for at in range(0, len(code), INSTRUCTION_BYTES):
            if code[at] == CALL and code[at + 1] >> 4:
                raise Unknown(f"{section.name} calls a function at {at}: it must be inlined")
        relocations = []
        entries = elf.get_section_by_name(f".rel{section.name}")
        for entry in entries.iter_relocations() if entries else ():
            name = table.get_symbol(entry["r_info_sym"]).name
            if entry["r_info_type"] != R_BPF_64_64 or name not in maps:
                raise Unknown(f"{section.name}: relocation {entry['r_info_type']} of {name}")
            relocations.append((entry["r_offset"] // INSTRUCTION_BYTES, name))
        words = list(struct.unpack(f"<{len(code) // INSTRUCTION_BYTES}Q", code))
        found.append((functions[0].name, section.name, words, relocations))
    return found


def render(maps: list[str], programs: list[tuple[str, str, list[int], list[tuple[int, str]]]]) -> str:
    lines = [
        "/* Made by tools/gen_agent_tables.py (`make agent`): do not edit. */",
        "#include <stdint.h>",
        "enum { " + ", ".join(f"MAP_{name}" for name in maps) + ", MAPS };",
    ]
    rows = []
    for name, section, words, relocations in programs:
        lines.append(f"static const uint64_t code_{name}[] = {{")
        for start in range(0, len(words), 6):
            lines.append("\t" + ", ".join(f"{word:#x}" for word in words[start : start + 6]) + ",")
        lines.append("};")
        pairs = ", ".join(f"{{ {at}, MAP_{map_} }}" for at, map_ in relocations)
        lines.append(f"static const uint16_t uses_{name}[][2] = {{ {pairs} }};")
        rows.append(
            f'\t{{ "{name}", "{section}", code_{name}, {len(words)}, uses_{name}, {len(relocations)} }},'
        )
    lines.append("static const struct program {")
    lines.append("\tconst char *name, *section;")
    lines.append("\tconst uint64_t *code;\n\tunsigned size;\n\tconst uint16_t (*uses)[2];\n\tunsigned used;")
    lines += ["} programs[] = {", *rows, "};", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
