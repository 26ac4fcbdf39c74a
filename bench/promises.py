"""What is promised, and what shows it: the table behind `make prove`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tests:
    """Tests of the suite, run with their full counts."""

    selections: tuple[str, ...]
    """As pytest takes them: a file, or a test in it."""
    processes: int = 0
    """How many run at a time; 0 is one, in pytest's own process."""


@dataclass(frozen=True, slots=True)
class Speed:
    """The benchmark against a handler written by hand, in the same run: all floors of an
    operation."""

    operation: str
    full: bool = False
    """With 10,000,000 transfers too."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The benchmark of the points ledger, which knows what is promised of each figure."""


@dataclass(frozen=True, slots=True)
class Conformance:
    """graphql-core's own tests on our executor. They have to be fetched: where that cannot be
    done it is said, and the promise is neither kept nor broken."""


@dataclass(frozen=True, slots=True)
class Alone:
    """The benchmark of the executor alone, which knows what is promised."""


@dataclass(frozen=True, slots=True)
class Promise:
    text: str
    shown: str
    """How, in words."""
    by: Tests | Speed | Ledger | Conformance | Alone
    minutes_max: float = 4


_DAILY = "tests/test_nudges_rules.py"

PROMISES = (
    Promise(
        "`make up` works from nothing, answers within 5 s later, and Ctrl-C leaves nothing",
        "the real command on a data folder of its own",
        Tests(("tests/test_up.py",)),
        minutes_max=6,
    ),
    Promise(
        "One check-in sent 100 times at once counts once",
        "two web processes; one id, then 100 ids",
        Tests(("tests/test_faults_sends.py",)),
    ),
    Promise(
        "Rival check-ins and the closing clock lose nothing",
        "races of up to 32 on one member, all wallets right",
        Tests(("tests/test_check_in_rivals.py",)),
    ),
    Promise(
        "A killed worker: at most 50 pushes unknown, none sent twice, one request an attempt",
        "100,000 due reminders, 4 workers, 50 times kill -9; a server that refuses in every way, hangs,"
        " resets, and takes what it answers 503 to; counted there",
        Tests(("tests/test_nudges_crash.py",)),
        minutes_max=40,
    ),
    Promise(
        "After an opt-out nothing leaves; after a pause at most what is in flight",
        "100,000 pushes queued, counted where they arrive; 20 campaigns released at once by 8",
        Tests(("tests/test_at_once.py",)),
        minutes_max=40,
    ),
    Promise(
        "Every error that FCM, JPush, SMTP and the SMS port document has its meaning",
        "tables of their documents; answers that are none; real sockets",
        Tests(("tests/test_error_codes.py", "tests/test_fcm.py", "tests/test_senders.py")),
    ),
    Promise(
        "A killed PostgreSQL: no acknowledged check-in lost or counted twice",
        "50 clients, kill -9 of the server, ledger verified",
        Tests(("tests/test_faults_database.py",)),
    ),
    Promise(
        "Lost replies to a commit: a retried check-in counts once",
        "a proxy that drops replies of COMMIT and of the write",
        Tests(("tests/test_faults_lost_replies.py",)),
    ),
    Promise(
        "Stopping finishes requests and jobs",
        "SIGTERM under load",
        Tests(("tests/test_faults_shutdown.py",)),
    ),
    Promise(
        "A daily reminder fires once a local day: every zone, every time change to 2030",
        "injected clock; six times of day around each change",
        Tests(
            (
                f"{_DAILY}::test_fires_once_a_local_day_over_every_time_change_to_2030",
                f"{_DAILY}::test_no_local_date_fires_twice_however_one_travels",
            )
        ),
    ),
    Promise(
        "And on every day of every zone to 2030",
        "injected clock; at 00:00, 02:30, 08:00, 23:30",
        Tests(
            (f"{_DAILY}::test_fires_once_on_every_local_day_of_every_zone_to_2030",),
            processes=2,
        ),
        minutes_max=8,
    ),
    Promise(
        "Every day, week and month of a year is closed once, also after three days down",
        "a member who never comes, in four zones",
        Tests(("tests/test_periods.py",)),
    ),
    Promise(
        "The ledger proves itself: any change is found and named",
        "each kind of tampering; roots outside the database",
        Tests(("tests/test_ledger.py",)),
    ),
    Promise(
        "A thousand tampered ledgers: each found, its first bad row named",
        "edits, deletions, insertions, swaps, cut tails, delimiter tricks; half hashed anew",
        Tests(("tests/test_tamper.py",)),
    ),
    Promise(
        "The ledger agrees with an oracle that knows every point, whatever happens to it",
        "200 random lives of 50 steps, two actors at once; nothing refused leaves a trace",
        Tests(("tests/test_points_machine.py",)),
        minutes_max=20,
    ),
    Promise(
        "Fifty redemptions at once on a balance for ten are ten; the last unit has one winner",
        "200 rounds of one reward, 200 of ten; also through two web processes",
        Tests(("tests/test_redemptions_rivals.py", "tests/test_redemptions_processes.py")),
        minutes_max=30,
    ),
    Promise(
        "A hold is captured, released or timed out once; a transfer is reversed once",
        "10,000 races of the three; 2,000 transfers, each reversed by four clients at once",
        Tests(("tests/test_points_races.py",)),
        minutes_max=20,
    ),
    Promise(
        "Points expire oldest first, once, as they were announced",
        "20,000 random histories, 500 through the job; it is killed 20 times, and runs three times"
        " at once",
        Tests(
            (
                "tests/test_points_book.py::test_random_histories_expire_as_a_naive_oracle_says",
                "tests/test_points_expiry.py",
            )
        ),
        minutes_max=20,
    ),
    Promise(
        "Wallets, lots and holds are what the transfers say",
        "each rebuilt from the transfers; any changed row is named",
        Tests(("tests/test_points_reconcile.py",)),
    ),
    Promise(
        "No cap of points is ever exceeded, and the cap is named",
        "day, month, year, rule and member; rivals; the closing clock",
        Tests(("tests/test_caps.py",)),
    ),
    Promise(
        "Every point is explained, and why there is none",
        "from each side, in both languages, whoever may ask",
        Tests(("tests/test_why.py",)),
    ),
    Promise(
        "Nine of ten mistakes in the ledger, its rules and its service, are noticed by a test",
        "every mutant of the rules and of the service; survivors explained",
        Tests(("tests/mutation/test_mutation.py",)),
        minutes_max=60,
    ),
    Promise(
        "The ledger keeps its pace",
        "50 clients; statements counted by the server; 10,000,000 transfers against 10,000; 1,000,000"
        " lots that expire",
        Ledger(),
        minutes_max=120,
    ),
    Promise(
        "The application cannot rewrite what is append-only",
        "rights of the role on every table",
        Tests(("tests/test_migrations.py", "tests/test_tables.py")),
    ),
    Promise(
        "No id leads anybody to another member's data",
        "a walk of the schema with foreign ids of the right types",
        Tests(("tests/test_foreign_ids.py",)),
    ),
    Promise(
        "An export of 300 MB is imported in less than 200 MB of memory",
        "twenty record types in no order; a real process, its peak",
        Tests(("tests/test_intake_size.py",)),
        minutes_max=20,
    ),
    Promise(
        "Premiums equal those of an independent implementation, to the cent",
        "random products and histories of seven terms, priced term after term",
        Tests(("tests/test_premium_oracle.py",)),
        minutes_max=20,
    ),
    Promise(
        "What a member tries out is what is billed, and every past premium is so again",
        "the demo's members day by day, each showing a rule; simulated, renewed, recomputed",
        Tests(("tests/test_demo_premiums.py",)),
        minutes_max=10,
    ),
    Promise(
        "Campaigns assign as they should, alarm at 1 % too many, and find what is there",
        "1,000,000 assignments; 1,000 A/A campaigns looked at 100 times; a planted effect",
        Tests(("tests/test_campaign_statistics.py",)),
    ),
    Promise(
        "The holdout of a campaign receives nothing; a pause bites at once",
        "20,000 members, counted where the pushes arrive",
        Tests(("tests/test_campaign_sandbox.py",)),
        minutes_max=12,
    ),
    Promise(
        "A back-test says what a draft would have charged, stores nothing, and names nobody",
        "carried percentages, facts of then, claims, bad rows; batches and processes alike",
        Tests(("tests/test_backtest.py",)),
    ),
    Promise(
        "Yearly figures need two people and stay once used; sums divide without a rest",
        "each refusal, rivals, retries; premium earned by day; the public payout report",
        Tests(("tests/test_portfolio.py", "tests/test_payouts.py")),
    ),
    Promise(
        "Twenty senders at once keep to the caps; in quiet hours nothing makes a noise",
        "every quarter of an hour of two years in every zone, windows over midnight; random ones",
        Tests(("tests/test_one_gate.py",)),
        minutes_max=20,
    ),
    Promise(
        "No sensitive column leaves by a message, or shows in jobs, logs, metrics and errors",
        "a canary in each; four channels over real sockets; writes that fail with the whole row",
        Tests(("tests/test_canaries.py",)),
    ),
    Promise(
        "A click counts once, one click ends e-mails of its kind, an address is confirmed before use",
        "eight at once; machines' visits; receipts, bounces, complaints; with real processes",
        Tests(
            (
                "tests/test_message_links.py",
                "tests/test_message_events.py",
                "tests/test_confirming.py",
                "tests/test_channels_processes.py",
            )
        ),
    ),
    Promise(
        "Each nudge policy reports what it did to check-ins and readings, against its holdout",
        "a planted effect is found, and none where there is none; sizes of arms raise the alarm",
        Tests(("tests/test_nudge_report.py",)),
    ),
    Promise(
        "A number or address that is refused for good is not used until it is changed",
        "eight requests at once; a late refusal; somebody who opts out meanwhile",
        Tests(("tests/test_contacts.py",)),
    ),
    Promise(
        "GraphQL over HTTP: every MUST and SHOULD",
        "the npm suite graphql-http; hostile bodies; statuses",
        Tests(("tests/test_graphql_http.py",)),
    ),
    Promise(
        "No document or body is too large or too deep for the guard",
        "exact at n and n + 1; bombs in milliseconds",
        Tests(("tests/test_limits.py", "tests/test_documents.py")),
    ),
    Promise(
        "Only proven tokens sign in",
        "expired, forged, alg none, wrong issuer, any text",
        Tests(("tests/test_identity.py", "tests/test_identity_keys.py")),
    ),
    Promise(
        "Live updates reach the right member, through lost listeners",
        "two web processes, terminated sessions, ended tokens",
        Tests(("tests/test_member_events.py",)),
    ),
    Promise(
        "Our executor passes graphql-core's own tests of its executor",
        "its source distribution, at most 5 % left out",
        Conformance(),
        minutes_max=10,
    ),
    Promise(
        "Our executor answers as graphql-core does, errors and their order included",
        "20,000 random schemas, data and documents; all trusted documents",
        Tests(("tests/test_executor_random.py", "tests/test_executor_operations.py")),
        minutes_max=30,
    ),
    Promise(
        "The executor alone is at least ten times as fast as graphql-core's",
        "Home without the database; every trusted document on a plan",
        Alone(),
    ),
    Promise(
        "Home at 0.75 of a handler written by hand; p99 at most 2.5 times p50; as fast with 10 M"
        " transfers as with 10,000; the layers around it at most 0.15 of its CPU",
        "raw, Wellward and graphql-core in turn, answers equal; sizes in turn",
        Speed("Home", full=True),
        minutes_max=90,
    ),
    Promise(
        "The statement of points at 0.65 of a handler written by hand",
        "50 entries of 52; the same windows",
        Speed("PointsHistory"),
        minutes_max=15,
    ),
    Promise(
        "A check-in at 0.6 of a handler of one statement",
        "rules, hash chain and lots against none; tasks that a tick finishes",
        Speed("CheckIn"),
        minutes_max=20,
    ),
    Promise(
        "500 readings at 0.5 of a handler with one insert",
        "judged and stored against stored",
        Speed("RecordMeasurements"),
        minutes_max=15,
    ),
)
