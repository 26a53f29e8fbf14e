"""Answers of the service that many ask for at once."""

import asyncio

import pytest

from appliance.web.recent import Recent


class Service:
    """Counts questions; answers when it is let."""

    def __init__(self):
        self.asked = 0
        self.may_answer = asyncio.Event()

    async def ask(self):
        self.asked += 1
        number = self.asked
        await self.may_answer.wait()
        return number


def test_many_who_ask_at_once_get_one_answer():
    async def check():
        service, recent = Service(), Recent(60)
        waiting = [asyncio.ensure_future(recent.find("job 1", service.ask)) for _ in range(16)]
        await asyncio.sleep(0)
        service.may_answer.set()
        assert await asyncio.gather(*waiting) == [1] * 16
        assert await recent.find("job 1", service.ask) == 1
        assert await recent.find("job 2", service.ask) == 2

    asyncio.run(check())


def test_old_answer_is_asked_for_again_and_not_kept():
    async def check():
        service, recent = Service(), Recent(0.0)
        service.may_answer.set()
        assert await recent.find("job", service.ask) == 1
        await asyncio.sleep(0.01)
        assert not recent._answers
        assert await recent.find("job", service.ask) == 2

    asyncio.run(check())


def test_answer_from_before_a_change_is_given_to_nobody_who_asks_after_it():
    async def check():
        service, recent = Service(), Recent(60)
        before = asyncio.ensure_future(recent.find("job", service.ask))
        await asyncio.sleep(0)
        recent.forget()
        after = asyncio.ensure_future(recent.find("job", service.ask))
        await asyncio.sleep(0)
        service.may_answer.set()
        assert (await before, await after) == (1, 2)
        assert await recent.find("job", service.ask) == 2

    asyncio.run(check())


def test_failure_is_told_to_all_who_wait_and_not_kept():
    async def check():
        recent, asked = Recent(60), []

        async def fail():
            asked.append(1)
            await asyncio.sleep(0)
            raise ValueError("away")

        told = await asyncio.gather(
            *(recent.find("job", fail) for _ in range(3)), return_exceptions=True
        )
        assert [str(each) for each in told] == ["away"] * 3
        assert len(asked) == 1
        with pytest.raises(ValueError):
            await recent.find("job", fail)
        assert len(asked) == 2

    asyncio.run(check())


def test_who_asked_first_may_leave():
    async def check():
        service, recent = Service(), Recent(60)
        first = asyncio.ensure_future(recent.find("job", service.ask))
        second = asyncio.ensure_future(recent.find("job", service.ask))
        await asyncio.sleep(0)
        first.cancel()
        service.may_answer.set()
        assert await second == 1

    asyncio.run(check())
