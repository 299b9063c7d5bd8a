"""When a schedule fires: pure, with no clock inside.  docs/schedules.md has the rules.

    schedule = parse({"cron": "0 7 * * MON-FRI", "timezone": "Europe/Berlin"})
    schedule.next_after(now_ms)                     # Unix milliseconds, or None
    schedule.due(last_ms, now_ms)                   # what is to be fired now
"""

from meshcode.schedule.fields import digest, parse
from meshcode.schedule.schedule import Schedule

__all__ = ["parse", "digest", "Schedule"]
