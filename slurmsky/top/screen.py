"""Screen: two tables above, the selected job or node below.

The module exceeds 400 lines because Textual delivers messages and keys to methods of one class.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from .. import paths
from . import bars
from .actions import JOB_ACTIONS
from .controller_client import ControllerClient
from .data_table import Table
from .keys import ACTIONS, help_text
from .plain_text import plain
from .rows import JobLine, NodeLine
from .screen_cells import CellDriver
from .scroll_text import TextLines
from .selection import Chosen
from .table_columns import JOBS, NODES
from .watcher import Acted, Broken, JobSeen, Lost, NodeSeen, OutputSeen, TablesSeen, Watcher

#: minimal width for a job's output and details side by side
WIDE = 110
MESSAGE_S = 8.0
_TABS = {"output": "o Output", "why": "w Why", "details": "d Details", "efficiency": "e Efficiency"}


class Top(App[None]):
    """Textual application of ``slurmsky top``."""

    ENABLE_COMMAND_PALETTE = False
    # No widget handles keys: the app receives every key in the order of typing, so that keys typed ahead over a slow
    # connection act on the pane that the user expects.
    CSS = """
    Screen { background: ansi_default; color: ansi_default; layers: base over; }
    .bar { height: 1; width: 100%; }
    #upper, #lower { height: 1fr; }
    #main { width: 7fr; }
    #side { width: 5fr; margin-left: 1; }
    #box { layer: over; display: none; position: absolute; width: auto; height: auto; padding: 0 1;
           border: solid ansi_cyan; background: ansi_default; }
    """

    def __init__(self, interval_s: float, controller: ControllerClient | None = None) -> None:
        super().__init__(CellDriver, ansi_color=True)
        self.animation_level = "none"
        self._controller = controller or ControllerClient()
        self._watch = Watcher(self._controller, self, interval_s)
        self._job_table: Table[JobLine] = Table(JOBS, "querying the controller...", id="queue")
        self._node_table: Table[NodeLine] = Table(NODES, "querying the controller...", id="nodes")
        self._table: Table[Any] = self._job_table
        self._pane: Table[Any] | TextLines = self._job_table
        self._typing: str | None = None  # a filter that is being typed
        self._box: Callable[[], None] | None = None  # the action of y while a box is open
        self._tab = "output"
        self._zoomed = False
        self._lost = ""
        self._problem = ""
        self._chosen = Chosen()
        self._showing: tuple[object, ...] = ()
        self._message: tuple[str, bool] | None = None
        self._trace = ""
        self._drawn_bars: dict[str, Text] = {}
        self._line = bars.rule(os.environ)

    def show(self) -> int:
        """Run until the caller quits; returns the exit code."""
        self.run(mouse=False)
        if not self._trace:
            return self.return_code or 0
        log = paths.state(os.environ).home / "top.log"
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            file.write(self._trace)
        sys.stderr.write(f"slurmsky: error: top: internal error, see {log}\n")
        return 1

    def _handle_exception(self, error: Exception) -> None:
        """Handle an internal error. The traceback is logged, the caller gets one line."""
        if self.is_headless:
            super()._handle_exception(error)
        else:
            self._trace = "".join(traceback.format_exception(error))
            self.exit()

    # --- the widgets

    def compose(self) -> ComposeResult:
        """Create head, tables, lower pane and foot."""
        yield Static(id="head", classes="bar")
        with Vertical(id="upper"):
            yield Static(id="views", classes="bar")
            yield self._job_table
            yield self._node_table
        with Vertical(id="lower"):
            yield Static(id="tabs", classes="bar")
            with Horizontal():
                yield TextLines(id="main")
                yield TextLines(id="side")
        yield Static(id="foot", classes="bar")
        yield Static(id="box")

    def on_mount(self) -> None:
        """Start the timers and the pollers."""
        for signum in (signal.SIGTERM, signal.SIGHUP):
            # Exit in an orderly way, which restores the terminal.
            self._loop_handler(signum)
        self._node_table.display = False
        self.set_interval(1.0, self._draw_bars)
        self._draw_bars()
        self._draw_lower()
        self._watch.begin()

    def _loop_handler(self, signum: int) -> None:
        import asyncio

        asyncio.get_running_loop().add_signal_handler(signum, lambda: self.exit(return_code=128 + signum))

    @property
    def _wide(self) -> bool:
        return self.size.width >= WIDE

    @property
    def _lower(self) -> tuple[TextLines, TextLines]:
        return self.query_one("#main", TextLines), self.query_one("#side", TextLines)

    def on_resize(self) -> None:
        """Redraw for the new size, which may change the layout."""
        self._draw_bars()
        self._draw_lower()

    # --- messages of the threads

    def on_tables_seen(self, seen: TablesSeen) -> None:
        self._lost, self._problem = "", plain(seen.problem)
        self._job_table.set_empty_text("the queue is empty" if not self._watch.ended else "no job is known")
        self._node_table.set_empty_text("there are no nodes")
        if seen.jobs is not None:
            self._job_table.show(seen.jobs)
        if seen.nodes is not None:
            self._node_table.show(seen.nodes)
        self._draw_bars()

    def on_lost(self, seen: Lost) -> None:
        self._lost = plain(seen.why)
        for table in (self._job_table, self._node_table):
            table.set_empty_text(self._lost)
        self._draw_bars()

    def on_job_seen(self, seen: JobSeen) -> None:
        row = self._table.current
        if self._table is not self._job_table or row is None or row.key != seen.details.key:
            return  # the cursor has moved to another row
        self._chosen.set_details(seen.details)
        self._watch.follow(self._chosen.wanted_path())
        self._draw_lower()

    def on_node_seen(self, seen: NodeSeen) -> None:
        self._chosen.node = seen
        self._draw_lower()

    def on_output_seen(self, seen: OutputSeen) -> None:
        self._chosen.set_output(seen.path, seen.tail)
        self._draw_lower()

    def on_acted(self, seen: Acted) -> None:
        if seen.text:
            self._say(" ".join(plain(line) for line in seen.text.splitlines()), seen.failed)

    def on_broken(self, seen: Broken) -> None:
        self._trace = seen.trace
        self.exit()

    def on_table_moved(self, moved: Table.Moved) -> None:
        if moved.table is self._table:
            self._choose()

    def _choose(self) -> None:
        row = self._table.current
        self._watch.choose(row)
        details = self._chosen.details
        if row is None or (details is not None and details.key != row.key):
            self._chosen.forget()
            self._watch.follow("")
        self._draw_bars()
        self._draw_lower()

    # --- drawing

    def _draw_bars(self) -> None:
        if not self.is_running:
            return
        lost = self._lost
        if lost and not self._controller.inside_job:
            lost += ": Ctrl-L starts one"
        jobs, nodes = self._job_table.all_rows, self._node_table.all_rows
        head = bars.head(self.size.width, jobs, nodes, lost or self._problem, bool(lost))
        foot = bars.foot(self.size.width, self._typing, self._message)
        for name, text in (("head", head), ("views", self._views()), ("tabs", self._tab_bar()), ("foot", foot)):
            drawn = self._drawn_bars.get(name)
            if drawn is None or (drawn, drawn.style) != (text, text.style):  # Text compares without its base style
                self._drawn_bars[name] = text
                self.query_one(f"#{name}", Static).update(text, layout=False)

    def _views(self) -> Text:
        table = self._table
        focused = table.active
        views = [(f"{key} {word} {one.num_rows}", one is table)
                 for key, word, one in ((1, "Queue", self._job_table), (2, "Nodes", self._node_table))]  # fmt: skip
        order = f"by {table.order}" if table.order else ""
        if table.reverse:
            order += " reversed"
        right = [order.strip(), f"filter: {plain(table.filter)} ({table.num_shown})" if table.filter else "",
                 "with ended jobs" if self._watch.ended and table is self._job_table else ""]  # fmt: skip
        return bars.separator_with_words(self.size.width, self._line, views, right, focused)

    def _tab_bar(self) -> Text:
        focused = any(lines.active for lines in self._lower)
        row = self._table.current
        if self._table is self._node_table:
            return bars.separator_with_words(
                self.size.width, self._line, [(f"Node {row.name}" if row else "Node", True)], (), focused
            )
        if row is None:
            return bars.separator_with_words(self.size.width, self._line, [("Job", True)], (), focused)
        title = f"Job {row.id if len(row.id) < 20 else row.number}"
        output = " ".join(("o", "Errors" if self._chosen.errors else "Output"))
        if self._wide:
            side = self._lower[1].active
            words = [(output, not side), ("w Why  d Details  e Efficiency", side)]
        else:
            words = [(output if tab == "output" else word, tab == self._tab) for tab, word in _TABS.items()]
        path = self._chosen.path if self._tab == "output" or self._wide else ""
        return bars.separator_with_words(
            self.size.width, self._line, [(title, False), *words], [plain(path or row.name)], focused
        )

    def _draw_lower(self) -> None:
        if not self.is_running:
            return
        main, side = self._lower
        row = self._table.current
        key = row.key if row else ""
        both = self._wide and self._table is self._job_table
        side.display = both
        showing = (self._table.id, key, "" if both else self._tab, self._chosen.errors)
        fresh = showing != self._showing
        self._showing = showing
        if self._table is self._node_table:
            main.show(self._chosen.node_lines(key), False, fresh)
        elif both:
            shown = self._chosen.output_lines(main.size.width)
            main.show(shown, True, fresh)
            beside = self._chosen.explained and shown != self._chosen.text_lines("why", main.size.width)
            why = [*self._chosen.text_lines("why", side.size.width), ()] if beside else []
            side.show([*why, *self._chosen.text_lines("details"), (), *self._chosen.text_lines("efficiency")], False,
                      fresh)  # fmt: skip
        elif self._tab == "output":
            main.show(self._chosen.output_lines(main.size.width), True, fresh)
        else:
            main.show(self._chosen.text_lines(self._tab, main.size.width), False, fresh)
        self._draw_bars()

    def _say(self, text: str, failed: bool = False) -> None:
        message = (text, failed)
        self._message = message
        self.set_timer(MESSAGE_S, lambda: self._unsay(message))
        self._draw_bars()

    def _unsay(self, message: tuple[str, bool]) -> None:
        if self._message is message:
            self._message = None
            self._draw_bars()

    # --- keys

    async def on_event(self, event: events.Event) -> None:
        """Handle keys and pasted text; leave other events to Textual."""
        if isinstance(event, events.Key):
            self._typed(event)
        elif isinstance(event, events.Paste):
            if self._typing is not None:
                self._type(self._typing + " ".join(event.text.split()))
        else:
            await super().on_event(event)

    def _typed(self, event: events.Key) -> None:
        key = event.key
        if self._box:
            then, self._box = self._box, None
            self.query_one("#box").display = False
            if key in ("y", "Y"):
                then()
            elif key == "ctrl+c":
                self.exit()
        elif self._typing is not None:
            self._edit(key, event.character if event.is_printable else None)
        elif not self._pane.press(key) and key in ACTIONS:
            action, _, argument = ACTIONS[key].partition(":")
            getattr(self, f"do_{action}")(*([argument] if argument else []))

    def _edit(self, key: str, character: str | None) -> None:
        """Edit the filter with one key."""
        words = self._typing or ""
        if key in ("enter", "escape"):
            if key == "escape":
                self._type("")
            self._typing = None
            self._draw_bars()
        elif key == "ctrl+c":
            self.exit()
        elif key in ("backspace", "ctrl+h"):
            self._type(words[:-1])
        elif key in ("ctrl+u", "ctrl+w"):
            self._type("" if key == "ctrl+u" else words.rstrip().rpartition(" ")[0])
        elif character is not None:
            self._type(words + character)
        elif key in ("up", "down"):
            self._table.press(key)

    def _type(self, words: str) -> None:
        self._typing = words
        self._table.filter = words
        self._draw_bars()

    def _show_box(self, text: Text, then: Callable[[], None]) -> None:
        """Show a box over the view until the next key. The key ``y`` also calls ``then``."""
        box = self.query_one("#box", Static)
        width = min(self.size.width, max(line.cell_len for line in text.split()) + 4)
        lines = sum(-(-max(1, line.cell_len) // max(1, width - 4)) for line in text.split())
        box.update(text)
        box.styles.width = width
        box.styles.max_height = self.size.height
        box.styles.offset = (self.size.width - width) // 2, max(0, (self.size.height - lines - 2) // 2)
        box.display = True
        self._box = then

    def _go(self, pane: Table[Any] | TextLines) -> None:
        """Make this pane receive the keys for moving."""
        for one in (self._job_table, self._node_table, *self._lower):
            one.active = one is pane
            one.redraw()
        self._pane = pane
        self._draw_bars()

    def do_pane(self) -> None:
        """Activate the next pane."""
        main, side = self._lower
        panes = [pane for pane in (None if self._zoomed else self._table, main, side if side.display else None) if pane]
        self._go(panes[(panes.index(self._pane) + 1) % len(panes)] if self._pane in panes else panes[0])

    def do_view(self, name: str) -> None:
        """Show the queue or the nodes."""
        self._table = self._job_table if name == "queue" else self._node_table
        for table in (self._job_table, self._node_table):
            table.display = table is self._table
        if self._zoomed:
            self.do_zoom()
        self._go(self._table)
        self._choose()

    def do_tab(self, name: str) -> None:
        """Show one tab of the job in the lower pane."""
        self._tab = name
        if self._table is self._node_table:
            self.do_view("queue")
        if self._wide:
            self._go(self._lower[0 if name == "output" else 1])
        self._draw_lower()

    def do_errors(self) -> None:
        """Switch between standard error and output."""
        details = self._chosen.details
        if details is not None and details.stdout == details.stderr and not self._chosen.errors:
            self._say("its errors go to the same file as its output")
            return
        self._chosen.errors = not self._chosen.errors
        self._tab = "output"
        self._watch.follow(self._chosen.wanted_path())
        self._draw_lower()

    def do_zoom(self) -> None:
        """Switch between the lower pane only and both panes."""
        self._zoomed = not self._zoomed
        self.query_one("#upper").display = not self._zoomed
        self._go(self._lower[0] if self._zoomed else self._table)
        self._draw_lower()

    def do_leave(self) -> None:
        """Leave the zoom, else the pane, else the filter."""
        if self._zoomed:
            self.do_zoom()
        elif self._pane is not self._table:
            self._go(self._table)
        elif self._table.filter:
            self._table.filter = ""
            self._draw_bars()

    def do_filter(self) -> None:
        """Start editing the filter, which applies while typed."""
        if self._zoomed:
            self.do_zoom()
        self._go(self._table)
        self._typing = self._table.filter
        self._draw_bars()

    def do_sort(self) -> None:
        """Sort by the next column."""
        self._table.next_order()
        self._draw_bars()

    def do_turn(self) -> None:
        """Reverse the order."""
        self._table.reverse_order()
        self._draw_bars()

    def do_ended(self) -> None:
        """Show or hide ended jobs."""
        self._watch.ended = not self._watch.ended
        self._watch.poll_all_now()
        self._draw_bars()

    def do_again(self) -> None:
        """Query now and redraw. Like a command, this starts a controller if none runs."""
        if isinstance(self._driver, CellDriver):
            self._driver.screen_cells.forget()
            self.refresh()
        self._watch.act("")

    def do_help(self) -> None:
        """Show the keys."""
        self._show_box(Text(help_text()), lambda: None)

    def do_quit(self) -> None:
        """Quit the view."""
        self.exit()

    def do_suspend(self) -> None:
        """Suspend the view and return to the shell."""
        self.action_suspend_process()

    # --- actions on a job

    def _job(self) -> JobLine | None:
        row = self._table.current
        if self._table is not self._job_table or row is None:
            self._say("choose a job first (1: the queue)", True)
            return None
        return self._job_table.current

    def do_job(self, name: str) -> None:
        """Cancel, requeue, hold or release the job, after a confirmation."""
        job = self._job()
        if job is None:
            return
        action = JOB_ACTIONS[name](job)
        if not action.question:
            self._watch.act(action.done, *action.line)
            return
        text = Text.assemble(action.question, "\n\n", ("y", "bold"), " yes    ", ("n", "bold"), " no")
        self._show_box(text, lambda: self._watch.act(action.done, *action.line))
