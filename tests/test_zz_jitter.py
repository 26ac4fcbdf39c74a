"""Old machine with the order of two actors flipped at random."""
import asyncio, random
import tests.ledger_machine as m
orig = m.Subject.do
async def do(self, op):
    if random.random() < .5:
        await asyncio.sleep(random.choice([0.001, 0.004]))
    return await orig(self, op)
m.Subject.do = do
from tests.test_points_machine import *
