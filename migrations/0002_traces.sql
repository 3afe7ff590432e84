-- Replies: what came over the wire, stored before anybody parses it, so that no paid answer is lost.
create table replies (
    id integer primary key,
    question_id integer not null references questions (id),
    sample integer not null,
    model text not null,
    attempt integer not null,
    status integer not null,
    body blob not null,
    received_at text not null
) strict;

create index replies_by_question on replies (question_id, sample);

-- Traces: parsed replies. One per question, sample and model: the missing rows are the work list.
create table traces (
    id integer primary key,
    question_id integer not null references questions (id),
    sample integer not null,
    model text not null,
    endpoint text not null,
    finish_reason text not null,
    prompt_tokens integer not null,
    completion_tokens integer not null,
    cost_usd real not null,
    attempts integer not null,
    created_at text not null,
    unique (question_id, sample, model)
) strict;

create table trace_texts (
    trace_id integer primary key references traces (id) on delete cascade,
    reasoning blob not null,
    solution blob not null
) strict;

-- Verdicts: what a verifier said of a trace. Redone when the verifier's version rises.
create table verdicts (
    trace_id integer primary key references traces (id) on delete cascade,
    verdict text not null check (verdict in ('correct', 'wrong', 'unchecked', 'unreadable')),
    why text not null,
    verifier text not null,
    version integer not null,
    detail text not null,
    created_at text not null
) strict;

create index verdicts_by_verdict on verdicts (verdict);
