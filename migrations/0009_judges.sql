-- What language models that judge have replied, by the hash of what they were asked: the same is never
-- paid for twice. Kept before anybody parses it.
create table judge_replies (
    key text primary key,
    model text not null,
    body blob not null,
    prompt_tokens integer not null,
    completion_tokens integer not null,
    cost_usd real not null,
    received_at text not null
) strict;

-- What this folder mixes into the marks around text that a judge must not obey. Random, made once.
create table judge_salts (
    id integer primary key check (id = 1),
    salt text not null
) strict;

-- Judgements: what a judge or a majority says of a trace, beside the verdict of the rules. They decide
-- where the rules say `unchecked`, and nowhere else. `settings` is the hash of how it was decided:
-- under other settings it is decided again.
create table judgements (
    trace_id integer primary key references traces (id) on delete cascade,
    verdict text not null check (verdict in ('correct', 'wrong', 'unchecked')),
    why text not null,
    verifier text not null check (verifier in ('judge', 'majority')),
    version integer not null,
    settings text not null,
    detail text not null,
    created_at text not null
) strict;

-- Reviews: traces that a person is to look at, and what people decided. A decision overrules rules and
-- judges, whatever they say later.
create table reviews (
    trace_id integer primary key references traces (id) on delete cascade,
    reason text not null check (reason in ('disagreement', 'abstained', 'asked')),
    state text not null check (state in ('open', 'accepted', 'rejected', 'skipped')),
    opened_at text not null,
    decided_at text,
    decided_by text
) strict;

create index reviews_by_state on reviews (state, trace_id);

-- Who did what to a review, when, and what the verdict was before and after.
create table review_log (
    id integer primary key,
    trace_id integer not null references traces (id) on delete cascade,
    action text not null check (action in ('accept', 'reject', 'skip', 'reopen')),
    who text not null,
    note text not null,
    before_verdict text,
    before_verifier text,
    after_verdict text,
    after_verifier text,
    at text not null
) strict;

create index review_log_by_trace on review_log (trace_id, id);
