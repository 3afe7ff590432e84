-- Dead letters: requests that an endpoint refused for good. The same request is not sent again unless
-- somebody asks for it; `request` is the hash of what was sent and where, so that another one is.
create table dead_letters (
    question_id integer not null references questions (id),
    sample integer not null,
    model text not null,
    request text not null,
    why text not null,
    created_at text not null,
    primary key (question_id, sample, model)
) strict, without rowid;
