"""Writes one script's SkyPilot YAML, with or without slurmsky."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..explain.form_findings import unread_directives
from ..script import needs
from ..script.conversion_tables import SECRET
from ..script.script_files import (
    argument_variables,
    arguments_read,
    names_files_beside,
    results,
    runs_own_programs,
    server_of,
)
from ..script.unset_variables import ENTERED, INPUT, INPUTS, unset_variables
from ..shell.script_commands import interpreter_of
from ..shell.script_variables import Scope
from ..sky_task.setup_commands import preparation
from ..sky_task.sky_names import docker_image
from . import conversion
from .agent_folder import REMOTE, AgentFolder
from .array_launches import launches
from .conversion import Dropped, one_line
from .omitted_options import (
    by_reason,
    invisible,
    left_out,
    module_versions,
    modules_without_effect,
    other_images,
    programs_to_bring,
)
from .run_hints import hints
from .run_text import BASH, OTHER_SHELLS, READS_ARGUMENTS, interpreter, run_text
from .setup_text import link_to_workdir, sorted_unique
from .yaml_document import YamlDocument
from .yaml_resources import MATLAB
from .yaml_storage import BUCKET, StorageDraft

_BUCKET_NOTE = f"bucket with copies of the folders below: --env {BUCKET}=s3://NAME"
#: variables that a script requires from its caller
REQUIRED = re.compile(r"\$\{(\w+):?\?")


@dataclass
class Draft(StorageDraft):
    """One script during its conversion to YAML."""

    # --- plain SkyPilot

    def plain_yaml(self) -> tuple[str, dict[str, Any]]:
        document = YamlDocument()
        image = self._image
        self.reading.activate += self._entry(image)
        self._head(document)
        document.add_field("name", self.task.name)
        if self.task.geometry.nodes > 1:
            document.add_field("num_nodes", self.task.geometry.nodes)
        if self._needs_workdir():
            document.add_field("workdir", self.workdir, comments=(self._workdir_comment(),))
        self._resources(document, image)
        server = server_of(self.script)
        if self.serve and server:
            probe = {"path": server.probe, "initial_delay_seconds": 1800}
            beside = {"readiness_probe": "the server is ready when it answers there"}
            document.add_field("service", {"readiness_probe": probe, "replicas": 1}, inline=beside)
        self._variables(document)
        self._mounts(document)
        if self.task.fields.get("config"):
            document.add_field("config", self.task.fields["config"])
        setup = [*self._link(), *sorted_unique(self.reading.setup)]
        if setup:
            document.add_field("setup", self._below("\n".join(setup) + "\n"))
        document.add_field("run", self._below(self._run() + "\n"), comments=self._run_comments())
        return document.text(), document.fields

    def _link(self) -> list[str]:
        """Setup that links the old cluster's path to the workdir, if needed."""
        former = self.reading.former
        rest = " ".join([run_text(self.source, self.reading), *self.reading.activate, *self.reading.envs.values()])
        used = former and re.search(rf"[/}}]{re.escape(former.rpartition('/')[2])}(?![\w-])", rest)
        return [link_to_workdir(path) for path in ([former] if used else []) + self.reading.links]

    def _workdir_comment(self) -> str:
        if self.reading.former:
            content = f"a copy of {one_line(self.reading.former, 160)} of the old cluster"
            if self._link():
                content += " (setup links that path to it)"
            if self.start.missing:
                content = f"TODO: {content}; it holds {one_line(', '.join(self.start.missing))}"
        elif self.begins:
            where = "which holds the script's files" if self.start.below else "where sbatch was called"
            content = f"it holds {self.begins}, {where}"
        elif self.start.missing:
            content = f"TODO: the folder that holds {one_line(', '.join(self.start.missing))}"
        elif self.workdir != ".":
            content = "the script's files are there: the folder that sbatch is called in"
        else:
            content = "the folder that sbatch was called in"
        return f"{content}; new files are removed with the node: copy results to a bucket"

    def _below(self, text: str) -> str:
        """Shell text that begins in the submit folder."""
        if not self.begins:
            return text
        return f"cd {conversion.quoted(self.begins)}\n" + text.replace("/sky_workdir", f"/sky_workdir/{self.begins}")

    def _head(self, document: YamlDocument) -> None:
        launch = f"serve up -n {self.task.name}" if self.serve else "jobs launch"
        names = [name[1:] for name in self._inputs_by_place]
        names += [BUCKET] if self._takes_bucket() else []
        if re.search(r"\bTASK_ID\b", self._edited()) and not self.directives.array:
            names.append("TASK_ID")
        given = "".join(f" --env {name}=..." for name in names)
        run = (
            f", line {self.stage}" if self.stage else f" as SkyPilot runs it:  sky {launch}{given} {self._yaml_name()}"
        )
        document.comment(f"{one_line(self.file)}{run}")
        if re.search("[\ud800-\udfff]", self.source):
            document.comment("Bytes of the script that are not UTF-8 are \ufffd here: YAML cannot contain them.")
        self.left_out += self.reading.dropped
        recorded = {note.option: note.text for note in self.task.notes if note.effect == "recorded"}
        if "gres" in recorded:
            self.left_out.append(Dropped(0, f"--gres={one_line(self.spec.gres or '')}", recorded["gres"]))
        self.left_out += left_out(self.spec, recorded)
        why = "of the old cluster's accounting"
        self.left_out += [
            Dropped(0, f"--{option}={one_line(name)}", why) for option, name, known in self._accounting() if not known
        ]
        self.left_out += [
            Dropped(form.line, form.text, form.reason)
            for form in unread_directives(self.source, [(start, end) for start, end, _ in self.script.documents])
        ][:6]
        shell = interpreter_of(self.source)
        if shell in OTHER_SHELLS and interpreter(self.source)[0] != shell:
            self.left_out.append(Dropped(1, f"{shell} of the first line", "bash runs these lines in the same way"))
        if (
            interpreter(self.source)[0] not in (*BASH, "")
            and not self.arguments
            and READS_ARGUMENTS.search(self.source)
        ):
            why = "the script reads them: give them to `slurmsky translate` after the script"
            self.left_out.append(Dropped(0, "arguments", why, to_do=True))
        if re.search(r"(^|\s)-(l|-login)\b", interpreter(self.source)[1]):
            self.left_out.append(
                Dropped(1, "-l of the first line", "SkyPilot's shell reads ~/.bashrc, no login profile")
            )
        unknown = "no module map has it: install it in setup, or use an image that contains it"
        for line, name in self.reading.unknown_modules:
            self.left_out.append(Dropped(line, f"module load {one_line(name)}", unknown, to_do=True))
        self.left_out += modules_without_effect(self.reading.modules, (self._image or ("",))[0].startswith(MATLAB))
        self.left_out += module_versions(self.reading.modules) + other_images(self.reading.modules)
        self.left_out += invisible(self.source)
        self.left_out += self._programs_to_bring()
        if not self._inputs:
            why = "nothing in the script sets it: --env NAME=VALUE, or a line below envs"
            unset = ((name, line) for name, line in self._unset.items() if not SECRET.search(name))
            self.left_out += [Dropped(line, f"${name}", why, to_do=True) for name, line in unset]
        why = "a module of the old cluster set it: --env NAME=VALUE, or a line below envs"
        text = run_text(self.source, self.reading)
        self.left_out += [
            Dropped(line, f"${name}", why, to_do=True)
            for name, line in self._of_modules.items()
            if re.search(rf"\b{name}\b", text)
        ]
        if self.directives.array:
            for text in launches(self.spec.array or "", self.directives.array, given, self._yaml_name()):
                document.comment(text)
        for title, to_do in (("To do:", True), ("Left out:", False)):
            lines = by_reason([entry for entry in self.left_out if entry.to_do is to_do])
            for text in ["", title, *(f"  {line}" for line in lines)] if lines else ():
                document.comment(text)

    def _takes_bucket(self) -> bool:
        return f"${{{BUCKET}}}" in str(self._storage[0])

    def _programs_to_bring(self) -> list[Dropped]:
        found = programs_to_bring(needs.of(self.source), self.reading.modules, self._has_own_image())
        own = Path(self.directives.folder) if self.directives.folder else None
        brought = self.reading.brought | ({"matlab"} if (self._image or ("",))[0].startswith(MATLAB) else set())
        return [one for one in found if one.text not in brought and not (own and (own / one.text).is_file())]

    def _has_own_image(self) -> bool:
        """Return whether the user chose the task's image. Such an image has the script's programs."""
        image = self._image
        return (image is not None and not image[1].startswith("module")) or bool(self.reading.images)

    def _yaml_name(self) -> str:
        return f"{self.task.name}.yaml"

    def _needs_workdir(self) -> bool:
        """Return whether the script needs the files in its folder."""
        program, _ = interpreter(self.source)
        if program not in BASH and program:
            return True
        listed = any(re.search(r" -[efr] [\w./-]", line) for line in self.reading.setup)
        return (
            bool(self.begins or self._inputs_by_place)
            or listed
            or self.reading.workdir
            or names_files_beside(self.script)
            or runs_own_programs(self.script)
        )

    def _variables(self, document: YamlDocument) -> None:
        envs: dict[str, str | None] = {}
        indexed = bool(re.search(r"\bTASK_ID\b", self._edited())) and not self.directives.array
        if self.directives.array or indexed:
            tested = re.search(r"-[zn] +\"?\$\{?SLURM_ARRAY_TASK_ID|SLURM_ARRAY_TASK_ID:?[-+]|! *\$", self.source)
            envs["TASK_ID"] = str(self.directives.array[0]) if self.directives.array else "" if tested else None
        envs.update(self.reading.envs)
        secret = [name for name in self._unset if SECRET.search(name)]
        self.reading.secrets += [name for name in secret if name not in self.reading.secrets]
        for name in self.reading.secrets:
            envs.pop(name, None)
        optional = re.search(r"\$#|\$\{\d:?[-=+?]|-[zn] [\"']?\$\{?\d", self.source)
        envs.update((name[1:], "" if optional or name == "$ARGS" else None) for name in self._inputs_by_place)
        required = [name for name in dict.fromkeys(REQUIRED.findall(self.source)) if name not in envs]
        required = [name for name in required if name not in self.reading.secrets and not name.startswith("SLURM")]
        required += [name for name in self._inputs if name not in (*required, *envs, *self.reading.secrets)]
        envs.update(dict.fromkeys(required))
        others = {BUCKET: _BUCKET_NOTE} if self._takes_bucket() else {}
        if (self._image or ("", ""))[0].startswith(MATLAB):
            others["MLM_LICENSE_FILE"] = "PORT@HOST of your licence server: --env MLM_LICENSE_FILE=..."
        envs |= {name: None for name in others if name not in envs}
        if envs:
            notes = dict.fromkeys(required, "the script requires it: --env NAME=VALUE")
            notes |= others
            notes |= {
                name[1:]: f"${name[4:].replace('S', '@')} of the script: --env {name[1:]}=..."
                for name in self._inputs_by_place
            }
            if indexed:
                notes["TASK_ID"] = "the script reads SLURM_ARRAY_TASK_ID: --env TASK_ID=1 is one element"
            notes |= {"TASK_ID": "one element; the others by --env TASK_ID=..."} if self.directives.array else {}
            for name, path in needs.of(self.source).stores:
                if envs.get(name) == path and not re.search("JOB|LOCAL|TMP", name):
                    notes[name] = f"TODO: on the node's disk, removed with the node: mount a bucket or volume at {path}"
            document.add_field("envs", envs, inline=notes)
        if self.reading.secrets:
            document.add_field(
                "secrets",
                dict.fromkeys(dict.fromkeys(self.reading.secrets)),
                inline={name: f"pass with --secret {name}" for name in self.reading.secrets},
            )

    @cached_property
    def _unknown(self) -> dict[str, int]:
        """Variables that the caller must set, with their first lines."""
        scope = Scope.of(self.script)
        starts = re.compile(r"(?i)activate|conda|/etc/|modules|bashrc")
        sourced = min((line for line, file in scope.sourced if not starts.search(file)), default=1 << 30)
        entered = ENTERED if needs.of(self.source).environments else ()
        known = {*self.reading.envs, *scope.stores, *entered, *dict(self.site.environment)}
        unset = unset_variables(self.script, scope).items()
        found = {name: line for name, line in unset if line <= sourced}  # such a file may set the later ones
        exported = set(re.findall(r"export (\w+)=", "\n".join(self.reading.activate)))
        return {name: line for name, line in found.items() if name not in known | exported}

    @property
    def _unset(self) -> dict[str, int]:
        return {name: line for name, line in self._unknown.items() if INPUT.fullmatch(name)}

    @property
    def _of_modules(self) -> dict[str, int]:
        """Variables that a loaded module sets, recognized by name."""
        loads = bool(self.reading.modules or self.reading.unknown_modules)
        return {name: line for name, line in self._unknown.items() if loads and not INPUT.fullmatch(name)}

    @property
    def _inputs(self) -> list[str]:
        """Inputs of a script whose caller exports variables."""
        return list(self._unset) if len(self._unset) >= INPUTS else []

    @cached_property
    def _inputs_by_place(self) -> list[str]:
        return [] if self.arguments else argument_variables(self.script)

    def _edited(self) -> str:
        """The script's lines that the translation changed."""
        return " ".join([*(text for _, _, text in self.reading.edits), *self.reading.activate])

    def _run_comments(self) -> list[str]:
        found = [one_line(note, 160) for note in (*self.reading.notes, *hints(self.script, self.reading.unchanged))]
        if self.directives.nodes > 1 and any("over ssh" in note for note in found):
            found.append("the nodes share no file system: files that ranks write for each other belong in a volume")
        if self.directives.nodes > 1 and 'NODE_RANK" = 0' in "".join(text for _, _, text in self.reading.edits):
            found.append("run starts on every node; commands for the first node only are guarded by NODE_RANK 0")
        if self.start.unbuilt:
            found.append(
                f"TODO: build {one_line(', '.join(self.start.unbuilt))} in setup: the workdir has no such file"
            )
        written = results(self.script)
        if written:
            mount = f"file_mounts: {{/results: {{name: {self._bucket('results')}, mode: MOUNT}}}}"
            found.append(f"to keep {one_line(' '.join(written), 60)}, copy to a bucket at the end:  {mount}")
        return list(dict.fromkeys(found))

    def _run(self) -> str:
        program, options = interpreter(self.source)
        lines: list[str] = []
        if program and program not in BASH:
            lines += self.reading.activate
            lines.append(" ".join([program, options, self.file, *self.arguments]).replace("  ", " "))
            return "\n".join(lines)
        text = run_text(self.source, self.reading)
        short = (word[1:] for word in options.split() if re.fullmatch(r"-[A-Za-z]+", word))
        flags = "".join(letter for word in short for letter in word if letter in "aefuvxC")
        if flags:
            lines.append(f"set -{flags}")
        if re.search(r"![^\s=(\"']", text.replace("$!", "")):
            lines.append("set +H  # SkyPilot's bash is an interactive one, where ! means history")
        if self.arguments and arguments_read(self.script):
            given = " ".join(conversion.quoted(word) for word in self.arguments)
            lines.append(f"set -- {given}  # the arguments of the script")
        elif self._inputs_by_place:
            lines.append(
                "set -- " + " ".join(name if name == "$ARGS" else f'"{name}"' for name in self._inputs_by_place)
            )
        lines += self.reading.activate
        return "\n".join([*lines, *([text] if text else [])]) or ":"

    # --- with slurmsky on the nodes

    def agent_yaml(self, folder: AgentFolder | None = None) -> tuple[str, dict[str, Any]]:
        """YAML that runs the unchanged script through slurmsky. ``folder`` is None if it is not created yet."""
        folder = folder or AgentFolder(f"{self.task.name}.slurmsky")
        document = YamlDocument()
        document.comment(
            f"{one_line(self.file)} needs Slurm's functions on the nodes, so slurmsky runs the unchanged script there:"
        )
        first = self.reading.needs[0]
        others = len({(one.line, one.text, one.why) for one in self.reading.needs}) - 1
        more = f" (and {others} more)" if others else ""
        place = f"line {first.line}: " if first.line else ""
        document.comment(f"  {place}{first.text}: {first.why}{more}")
        shipped = replace(self.site, shipped_modules=True)
        chosen, setup, _ = preparation(shipped, needs.of(self.source))
        images = needs.of(self.source).images
        image = self._image
        if image is None and (images[:1] if len(images) == 1 else chosen):
            image = docker_image(images[0] if len(images) == 1 else chosen), "its steps" if images else "its modules"
        self._agent_notes(document)
        made = f"`slurmsky translate -o {self._yaml_name()} {one_line(self.file)}` makes"
        document.comment(f"{made} slurmsky's folder {folder.name}")
        self.reading.former = ""  # the script runs unchanged
        document.add_field("name", self.task.name)
        if self.task.geometry.nodes > 1:
            document.add_field("num_nodes", self.task.geometry.nodes)
        if folder.workdir:
            where = "the folder that sbatch was called in, where the script runs"
            document.add_field("workdir", folder.workdir, comments=(where,))
        else:  # Keys are not sent, and files that git ignores are sent, as by sbatch.
            files = "the submit folder's files, without keys, with those that git ignores"
            document.comment(f"no workdir: {folder.name} has {files}")
        self._resources(document, image)
        if self._takes_bucket():
            document.add_field("envs", {BUCKET: None}, inline={BUCKET: _BUCKET_NOTE})
        job, program = f"./{folder.name}/job", f"./{folder.name}/{folder.program}"
        self._mounts(document, {f"{REMOTE}/{self.task.name}": job, f"{REMOTE}/{folder.program}": program})
        if self.task.fields.get("config"):
            document.add_field("config", self.task.fields["config"])
        if not needs.of(self.source).environments:
            setup += [line for line in self.reading.setup if re.match("# TODO|pip install", line) and line not in setup]
        if setup:
            document.add_field("setup", "\n".join(sorted_unique(setup, unchanged=True)) + "\n")
        document.add_field("run", f"sh {REMOTE}/{self.task.name}/start.sh\n")
        return document.text(), document.fields

    def _agent_notes(self, document: YamlDocument) -> None:
        """Write what the unchanged script requires of the user."""
        if any(re.search(r"\bsbatch\b", need.text) for need in self.reading.needs):
            instead = f"launch it by `sbatch {one_line(self.file)}`, or translate what it submits"
            document.comment(f"  sbatch has no queue in a job that `sky jobs launch` starts: {instead}")
        for name in needs.of(self.source).environments:
            document.comment(f"  {one_line(name)}: setup creates that Python environment: add its packages")
        for number, name in self.reading.unknown_modules:
            document.comment(f"  line {number}: module load {one_line(name)}: no module map has it")
        unset = [Dropped(line, f"${name}", "nothing in the script sets it") for name, line in self._unset.items()]
        if interpreter(self.source)[0] in (*BASH, ""):
            unset += self._programs_to_bring()
        if self.workdir != "." or self.start.missing:
            place = self.workdir if self.workdir != "." else f"the folder that holds {', '.join(self.start.missing)}"
            unset.append(Dropped(0, f"translate it in {one_line(place)}", "the script's files are there"))
        if self._inputs_by_place:
            shown = " ".join(self._inputs_by_place).replace("$ARGS", "ARGUMENTS").replace("$", "")
            why = "the script reads them: give them to `slurmsky translate` after the script"
            unset.append(Dropped(0, f"arguments {shown}", why))
        if self.directives.array:
            why = "this YAML runs one job without an index; `sbatch` launches the elements"
            unset.append(Dropped(0, f"--array={self.spec.array}", why))
        for dropped in [*self.left_out, *module_versions(self.reading.modules), *unset]:
            document.comment(f"  {dropped.text}: {dropped.why}")
