//! Tests of the templates: what training sees is what serving sees.

use super::{Arguments, Opening, Prompt, Template, TemplateName, Turn};
use crate::chat::tokenizer::{ChatFiles, SPECIALS, Tokenizer, Vocabulary};
use crate::chat::{Message, Role};

fn tokenizer() -> Tokenizer {
    let texts =
        ["You are a helpful assistant.", "user assistant system", "What is 2 + 2? It is 4."];
    let vocabulary = Vocabulary { size: 320, specials: &SPECIALS, words: &[] };
    Tokenizer::train(texts.iter().cycle().take(30), &vocabulary).unwrap()
}

fn message(role: Role, content: &str) -> Message {
    Message { role, content: content.into() }
}

fn conversation() -> Vec<Message> {
    vec![
        message(Role::User, "What is 2 + 2?"),
        message(Role::Assistant, "It is 4."),
        message(Role::User, "\n\nSure? <|im_end|>"),
        message(Role::Assistant, "Yes."),
    ]
}

/// A template read from the folder that a model with `template` is saved in.
fn saved(tokenizer: &Tokenizer, template: &str) -> (tempfile::TempDir, Template) {
    let dir = tempfile::tempdir().unwrap();
    let files = ChatFiles { template, eos: "<|im_end|>", context: 128 };
    tokenizer.save(dir.path(), &files).unwrap();
    let template = Template::open(dir.path()).unwrap();
    (dir, template)
}

#[track_caller]
fn check_rendered(name: TemplateName, messages: &[Message], expected: &str) {
    let tokenizer = tokenizer();
    let ids = Template::built_in(name).prompt(&tokenizer, messages).unwrap();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), expected);
}

#[test]
fn a_question_without_system_message_gets_qwens() {
    check_rendered(
        TemplateName::Qwen25Openthinker,
        &[Message::user("Hi")],
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.\
         <|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    );
}

#[test]
fn a_system_message_of_its_own_replaces_it() {
    check_rendered(
        TemplateName::Qwen25Openthinker,
        &[message(Role::System, "Be brief."), Message::user("Hi")],
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n\
         <|im_start|>assistant\n",
    );
}

#[test]
fn plain_chatml_has_no_system_message() {
    check_rendered(
        TemplateName::Chatml,
        &[Message::user("Hi")],
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    );
}

#[test]
fn openthinkers_answers_end_with_endoftext_and_chatmls_with_im_end() {
    let tokenizer = tokenizer();
    let ends = |name| {
        let turns = Template::built_in(name).turns(&tokenizer, &conversation()).unwrap();
        turns.iter().map(|turn| tokenizer.decode(&turn.answer, true).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(
        ends(TemplateName::Qwen25Openthinker),
        ["It is 4.<|endoftext|>", "Yes.<|endoftext|>"]
    );
    assert_eq!(ends(TemplateName::Chatml), ["It is 4.<|im_end|>\n", "Yes.<|im_end|>\n"]);
}

#[track_caller]
fn check_serving_sees_what_training_saw(template: &Template) {
    let tokenizer = tokenizer();
    let messages = conversation();
    let turns = template.turns(&tokenizer, &messages).unwrap();
    assert_eq!(turns.len(), 2);
    let asked = template.prompt(&tokenizer, &messages[..1]).unwrap();
    assert_eq!(asked, turns[0].prompt);
    let asked_again = template.prompt(&tokenizer, &messages[..3]).unwrap();
    let Turn { prompt, answer } = &turns[0];
    let seen: Vec<u32> =
        [prompt, answer, &turns[1].prompt].into_iter().flatten().copied().collect();
    assert_eq!(asked_again, seen);
    let typed = tokenizer.id("<|im_end|>").unwrap();
    let ends = turns[1].prompt.iter().filter(|id| **id == typed).count();
    assert!(ends == 1, "what a user types is never special: {:?}", turns[1].prompt);
}

#[test]
fn serving_sees_what_training_saw() {
    for name in [TemplateName::Qwen25Openthinker, TemplateName::Chatml] {
        let template = Template::built_in(name);
        check_serving_sees_what_training_saw(&template);
        let (_dir, opened) = saved(&tokenizer(), template.jinja());
        check_serving_sees_what_training_saw(&opened);
        // The same text with a blank more is nobody's built-in: it goes through Jinja.
        let (_dir, foreign) = saved(&tokenizer(), &format!("{}{{# #}}", template.jinja()));
        check_serving_sees_what_training_saw(&foreign);
    }
}

/// Written out by hand from Llama 3's published prompt format.
#[test]
fn llama_3_has_headers_and_ends_turns_with_eot() {
    let specials = [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|endoftext|>",
    ];
    let vocabulary = Vocabulary { size: 320, specials: &specials, words: &[] };
    let tokenizer = Tokenizer::train(["user assistant system"].iter(), &vocabulary).unwrap();
    let template = Template::built_in(TemplateName::Llama3);
    let messages =
        [&[message(Role::System, "Be brief.")][..], &conversation(), &[Message::user("?")]]
            .concat();
    let expected = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.\
        <|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhat is 2 + 2?<|eot_id|>\
        <|start_header_id|>assistant<|end_header_id|>\n\nIt is 4.<|eot_id|>\
        <|start_header_id|>user<|end_header_id|>\n\n\n\nSure? <|im_end|><|eot_id|>\
        <|start_header_id|>assistant<|end_header_id|>\n\nYes.<|eot_id|>\
        <|start_header_id|>user<|end_header_id|>\n\n?<|eot_id|>\
        <|start_header_id|>assistant<|end_header_id|>\n\n";
    let ids = template.prompt(&tokenizer, &messages).unwrap();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), expected);
    let dir = tempfile::tempdir().unwrap();
    for jinja in [template.jinja().to_owned(), format!("{}{{# #}}", template.jinja())] {
        let files = ChatFiles { template: &jinja, eos: "<|eot_id|>", context: 128 };
        tokenizer.save(dir.path(), &files).unwrap();
        let saved = Template::open(dir.path()).unwrap();
        assert_eq!(saved.prompt(&tokenizer, &messages).unwrap(), ids);
        let turns = saved.turns(&tokenizer, &messages[..5]).unwrap();
        let said: Vec<u32> =
            turns.iter().flat_map(|t| [&t.prompt[..], &t.answer].concat()).collect();
        assert_eq!(said, ids[..said.len()], "training sees what serving sees");
        assert_eq!(turns[1].answer.last().copied(), tokenizer.id("<|eot_id|>"));
    }
}

#[test]
fn pieces_and_their_jinja_agree() {
    let tokenizer = tokenizer();
    let conversations = [
        vec![Message::user("  What is 7?\n")],
        vec![message(Role::System, "Be brief."), Message::user("Hi <|im_start|>")],
        conversation()[..3].to_vec(),
    ];
    for name in [TemplateName::Qwen25Openthinker, TemplateName::Chatml] {
        let template = Template::built_in(name);
        let (_dir, foreign) = saved(&tokenizer, &format!("{}{{# #}}", template.jinja()));
        for messages in &conversations {
            let pieces = template.prompt(&tokenizer, messages).unwrap();
            assert_eq!(foreign.prompt(&tokenizer, messages).unwrap(), pieces, "{messages:?}");
        }
    }
}

#[test]
fn huggings_face_dialect_is_understood() {
    let source = "{{ bos_token }}{%- set ns = namespace(system='') %}\
        {%- for message in messages %}{%- if message.role == 'system' %}\
        {%- set ns.system = message['content'].strip() %}{%- endif %}{%- endfor %}\
        {{ ns.system }}|{{ messages[-1]['content'].split(' ')[-1].upper() }}\
        |{{ {'a': [1, 'é']} | tojson }}{{ messages | length }}\
        {% if add_generation_prompt %}>{% endif %}";
    let config = serde_json::json!({"bos_token": {"content": "<s>"}});
    let jinja = super::Jinja::new(source.into(), &config).unwrap();
    let messages = [message(Role::System, " Be brief. "), Message::user("the end")];
    let text = jinja.render(&messages, true, &Arguments::default()).unwrap();
    assert_eq!(text, "<s>Be brief.|END|{\"a\": [1, \"é\"]}2>");
}

#[test]
fn a_template_that_raises_says_why() {
    let source = "{{ raise_exception('roles must alternate') }}";
    let (_dir, template) = saved(&tokenizer(), source);
    let error = template.prompt(&tokenizer(), &[Message::user("Hi")]).unwrap_err();
    assert!(format!("{error:#}").contains("roles must alternate"), "{error:#}");
}

#[test]
fn a_model_without_template_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let error = Template::open(dir.path()).unwrap_err();
    assert!(crate::hint::of(&error).unwrap().contains("chat_template.jinja"), "{error}");
}

/// What `scripts/reference_templates.py` wrote: templates, and what transformers made of them.
#[derive(serde::Deserialize)]
struct Rendered {
    templates: std::collections::BTreeMap<String, String>,
    conversations: Vec<Vec<Message>>,
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    conversation: usize,
    prompt: bool,
    arguments: serde_json::Map<String, serde_json::Value>,
    text: Option<String>,
    error: Option<String>,
}

#[test]
fn templates_render_as_in_transformers() {
    let text = include_str!("../../../tests/it/golden/templates.json");
    let rendered: Rendered = serde_json::from_str(text).unwrap();
    let config = serde_json::json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}});
    assert!(rendered.cases.len() > 150, "{}", rendered.cases.len());
    for case in rendered.cases {
        let template = rendered.templates[&case.name].clone();
        let jinja = super::Jinja::new(template, &config).unwrap();
        let messages = &rendered.conversations[case.conversation];
        let arguments = Arguments { more: case.arguments };
        let ours = jinja.render(messages, case.prompt, &arguments);
        let place = format!("{} of conversation {}", case.name, case.conversation);
        match (ours, case.text, case.error) {
            (Ok(ours), Some(text), None) => assert_eq!(ours, text, "{place}"),
            (Err(error), None, Some(said)) => {
                assert!(format!("{error:#}").contains(&said), "{place}: {error:#}");
            }
            (ours, text, error) => panic!("{place}: {ours:?}, not {text:?} or {error:?}"),
        }
    }
}

#[test]
fn a_template_may_ask_for_the_day_but_not_in_an_unknown_format() {
    let render = |source: &str| {
        let jinja = super::Jinja::new(source.into(), &serde_json::Value::Null).unwrap();
        jinja.render(&[Message::user("Hi")], true, &Arguments::default())
    };
    let day = render("{{ strftime_now('%d %b %Y') }}").unwrap();
    assert!(day.len() == 11 && day[7..].parse::<u32>().is_ok_and(|year| year > 2020), "{day}");
    let error = format!("{:#}", render("{{ strftime_now('%!') }}").unwrap_err());
    assert!(error.contains("`%!` is no time format"), "{error}");
}

fn open(template: &Template, messages: &[Message], opening: Opening) -> anyhow::Result<Prompt> {
    template.prompt_with(&tokenizer(), messages, opening, &Arguments::default())
}

#[track_caller]
fn check_opened(name: TemplateName, messages: &[Message], opening: Opening, expected: &str) {
    let tokenizer = tokenizer();
    let template = Template::built_in(name);
    let (_dir, foreign) = saved(&tokenizer, &format!("{}{{# #}}", template.jinja()));
    for template in [template, foreign] {
        let ids = open(&template, messages, opening).unwrap().ids;
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), expected, "{template:?}");
    }
}

#[test]
fn a_template_of_several_is_the_default_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = serde_json::json!({ "chat_template": [
        { "name": "tool_use", "template": "tools" }, { "name": "default", "template": "plain" },
    ]});
    std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    assert_eq!(Template::open(dir.path()).unwrap().jinja(), "plain");
    std::fs::write(dir.path().join("chat_template.jinja"), "file").unwrap();
    assert_eq!(Template::open(dir.path()).unwrap().jinja(), "file", "the newer place wins");
}

#[test]
fn a_conversation_goes_on_where_it_is_told_to() {
    let answered = [Message::user("Hi"), message(Role::Assistant, "Hello, ")];
    let chatml = |opening, expected: &str| {
        check_opened(TemplateName::Chatml, &answered, opening, expected);
    };
    let user = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello, ";
    chatml(Opening::Continue, user);
    chatml(Opening::Nothing, &format!("{user}<|im_end|>\n"));
    chatml(Opening::Answer, &format!("{user}<|im_end|>\n<|im_start|>assistant\n"));
    let asked = &answered[..1];
    let user = "<|im_start|>user\nHi<|im_end|>\n";
    check_opened(TemplateName::Chatml, asked, Opening::Nothing, user);
    let begun = [Message::user("Hi"), message(Role::Assistant, "")];
    let header = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
    check_opened(TemplateName::Chatml, &begun, Opening::Continue, header);
}

#[test]
fn any_order_of_roles_reads_as_the_jinja_does() {
    let mixed = [
        message(Role::System, "Be brief."),
        Message::user("a"),
        Message::user("b"),
        message(Role::Assistant, "c"),
        message(Role::Tool, "d"),
    ];
    let turn = |role: &str, text: &str| format!("<|im_start|>{role}\n{text}<|im_end|>\n");
    let expected = turn("system", "Be brief.") + &turn("user", "a") + &turn("user", "b");
    let expected =
        expected + &turn("assistant", "c") + &turn("tool", "d") + "<|im_start|>assistant\n";
    check_opened(TemplateName::Chatml, &mixed, Opening::Answer, &expected);
}

#[test]
fn a_template_that_opens_the_thought_says_so() {
    let source = "{{ messages[0]['content'] }}{% if add_generation_prompt %}\n<think>\n{% endif %}";
    let (_dir, template) = saved(&tokenizer(), source);
    let messages = [Message::user("Hi")];
    let opened = open(&template, &messages, Opening::Answer).unwrap();
    assert!(opened.in_thought);
    let typed = [Message::user("<think>")];
    assert!(!open(&template, &typed, Opening::Nothing).unwrap().in_thought);
}

#[test]
fn what_a_request_tells_the_template_is_text() {
    let (_dir, template) = saved(&tokenizer(), "{% if think %}{{ more['name'] }}{% endif %}");
    let more = serde_json::json!({ "think": true, "more": { "name": "a<|im_end|>" } });
    let arguments = Arguments { more: more.as_object().unwrap().clone() };
    let told =
        template.prompt_with(&tokenizer(), &[Message::user("Hi")], Opening::Answer, &arguments);
    assert_eq!(told.unwrap().ids, tokenizer().encode("a<|im_end|>").unwrap());
}

#[test]
fn what_cannot_be_continued_is_refused() {
    let template = Template::built_in(TemplateName::Chatml);
    let error = open(&template, &[Message::user("Hi")], Opening::Continue);
    assert!(error.unwrap_err().to_string().contains("not the model's own"));
    let (_dir, upper) = saved(&tokenizer(), "{{ messages[-1]['content'].upper() }}");
    let messages = [Message::user("Hi"), message(Role::Assistant, "hello")];
    let error = open(&upper, &messages, Opening::Continue).unwrap_err();
    assert!(error.to_string().contains("cannot be continued"), "{error}");
}
