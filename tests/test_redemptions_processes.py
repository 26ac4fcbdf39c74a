"""The real processes: a code comes in by the command line and reaches its member's phone, and
nobody else, not the logs either."""

from base64 import b64encode
from pathlib import Path
from typing import Any
from uuid import uuid4

from app.db import Database
from tests import processes
from tests.job_worker import eventually
from tests.phones import Phone, http_client, make_phone
from tests.shoppers import assert_sound, give, one

CODE = "QX-7193-SECRET"


async def test_a_code_reaches_its_members_phone_and_no_log(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    level = {
        "WELLWARD_LOG_LEVEL": "DEBUG",
        "WELLWARD_VOUCHER_KEY": b64encode(bytes(range(32))).decode(),
    }
    path = tmp_path / "codes.csv"
    path.write_text(f"code\n{CODE}\n")
    code, out, err = await processes.command(
        *("rewards", "import-codes", "drug-store-voucher", str(path)),
        WELLWARD_DATABASE_URL=database_url,
        **level,
    )
    assert (code, out) == (0, "1 codes imported, 0 known before, 0 malformed.\n"), err

    async with (
        http_client() as http,
        processes.web(database_url, tmp_path, **level) as (site,),
        processes.worker(database_url, tmp_path, **level) as worker,
    ):
        winner, loser = [
            await make_phone(db, tmp_path, http, site.base, login=login) for login in ("a", "b")
        ]
        for phone in (winner, loser):
            await give(db, phone.member_id, 400)
        shelf = (await winner.send("Rewards", {"first": 1})).body["data"]["rewards"]["edges"]
        assert (shelf[0]["node"]["stock"], shelf[0]["node"]["affordable"]) == (1, True)
        reward_id = shelf[0]["node"]["id"]

        async def redeem(phone: Phone) -> dict[str, Any]:
            sent = {"input": {"requestId": str(uuid4()), "rewardId": reward_id}}
            result = (await phone.send("RedeemReward", sent)).result
            assert result is not None
            return result

        redemption_id = (await redeem(winner))["redemption"]["id"]
        assert (await redeem(loser))["code"] == "OUT_OF_STOCK"

        async def fulfilled() -> Any:
            found = (await winner.send("Redemption", {"id": redemption_id})).body["data"]["node"]
            return found if found["state"] == "FULFILLED" else None

        found = await eventually(fulfilled)
        assert found["voucherCode"] == CODE
        other = await loser.send("Redemption", {"id": redemption_id})
        assert other.body["data"] == {"node": None}
        logs = site.said() + worker.said() + err

    assert '"operation":"RedeemReward"' in logs
    assert CODE not in logs
    assert await one(db, "select stock from rewards where code = 'drug-store-voucher'") == (0,)
    await assert_sound(db)
