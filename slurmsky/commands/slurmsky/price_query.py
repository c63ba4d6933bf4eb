"""Queries SkyPilot's optimizer for prices of explained scripts, within a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from ...controller.command_context import CommandContext
from ...engines import registry
from ...engines.base import EngineError
from ...engines.cloud import CloudService
from ...translate import explain as pages
from ...translate.folder_prices import by_question

PATIENCE_S = 3.0  # for one script; the answer is complete without prices
FOLDER_PATIENCE_S = 12.0  # for a folder of scripts
AT_ONCE = 4  # the optimizer runs in a few processes of SkyPilot's server

_Answer = tuple[Sequence[Mapping[str, str]], str]


async def with_price(ctx: CommandContext, page: pages.Page) -> pages.Page:
    """Add where one script could run, with prices."""
    if "GPU_TYPE" in page.task_yaml:
        return pages.with_prices(page, (), "no prices: a GPU type must be chosen first")
    rows, note = (await _answers(ctx, [page.task_yaml], PATIENCE_S))[page.task_yaml]
    return pages.with_prices(page, rows, note or "* is what SkyPilot would take")


async def with_folder_prices(ctx: CommandContext, found: Sequence[pages.Page]) -> list[pages.Page]:
    """Add prices on demand and on spot nodes to the scripts of a folder that would run on SkyPilot."""
    answers = await _answers(ctx, by_question(found), FOLDER_PATIENCE_S)
    return [pages.with_prices(page, *answers.get(page.price_question, (page.prices, page.prices_note)))
            for page in found]  # fmt: skip


async def _answers(ctx: CommandContext, questions: Sequence[str], patience_s: float) -> dict[str, _Answer]:
    """The optimizer's rows for each task, or a note that says why there are none."""
    if not questions:
        return {}
    late = f"no prices: SkyPilot did not answer within {patience_s:.0f} s"
    answers: dict[str, _Answer] = dict.fromkeys(questions, ((), late))
    service = registry.cloud_service(ctx.env, ctx.queue.site, ctx.env.get("USER", ""))
    if not service.configured:
        return dict.fromkeys(questions, ((), "no prices: SkyPilot is not set up for you"))
    waiting = iter(questions)

    async def ask() -> None:
        for task in waiting:
            answers[task] = await _answer(service, task)

    try:
        await asyncio.wait_for(asyncio.gather(*(ask() for _ in range(min(AT_ONCE, len(questions))))), patience_s)
    except asyncio.TimeoutError:
        pass  # questions without an answer keep the note
    finally:
        await service.close()
    return answers


async def _answer(service: CloudService, task: str) -> _Answer:
    try:
        rows = pages.read_prices(await service.optimize(task))
    except EngineError as error:
        return (), f"no prices: {error}"
    return rows, "" if rows else "no prices: SkyPilot showed none"
