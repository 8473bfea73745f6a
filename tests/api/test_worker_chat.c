/* The worker and conversations: tools, schemas beside them, reasoning, what a template does not know. */
#include <jansson.h>
#include <signal.h>
#include <unistd.h>

#include "tests/api/worker_kit.h"

/* -------------------------------------------------------------------------------------------- chat */

static const char tools_json[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"parameters\":{\"type\":\"object\",\"properties\":{"
    "\"city\":{\"$ref\":\"#/$defs/c\"},\"now\":{\"type\":\"boolean\"}},\"required\":[\"city\",\"now\"],"
    "\"additionalProperties\":false,\"$defs\":{\"c\":{\"enum\":[\"Rome\",\"Paris\"]}}}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"stop\",\"parameters\":{\"type\":\"object\",\"properties\":{},"
    "\"additionalProperties\":false}}}]";

static json_t *chat_request(json_t *more)
{
    json_t *body = json_pack("{s:s,s:s,s:[{s:s,s:s}],s:b}", "op", "generate", "kind", "chat", "messages", "role",
                             "user", "content", "How is it?", "return_ids", 1);
    json_object_update(body, more);
    json_decref(more);
    return body;
}

static bool is_weather(const char *args)
{
    json_t *v = json_loads(args, 0, NULL);
    const char *city = json_string_value(json_object_get(v, "city"));
    bool ok = city && (!strcmp(city, "Rome") || !strcmp(city, "Paris")) && json_is_boolean(json_object_get(v, "now")) &&
              json_object_size(v) == 2;
    json_decref(v);
    return ok;
}

static void test_tools(worker *w, answer *a)
{
    json_t *tools = json_loads(tools_json, 0, NULL);
    size_t good = 0;
    for (int seed = 0; seed < 8; seed++) {
        go(w, a, IG_FRAME_REQUEST,
           chat_request(json_pack("{s:O,s:{s:s},s:i,s:i}", "tools", tools, "tool_choice", "name", "weather",
                                  "max_tokens", 300, "seed", seed)));
        good += !strcmp(finish_of(a), "tool_calls") && a->n_calls == 1 && !strcmp(a->names[0], "weather") &&
                is_weather(a->args[0]) && a->n_text == 0;
    }
    tap_ok(good == 8, "a forced call fits its schema (%zu of 8)", good);
    size_t calls = 0;
    good = 0;
    for (int seed = 0; seed < 8; seed++) {
        go(w, a, IG_FRAME_REQUEST,
           chat_request(json_pack("{s:O,s:s,s:b,s:i,s:i}", "tools", tools, "tool_choice", "required",
                                  "parallel_tool_calls", 1, "max_tokens", 2000, "seed", seed)));
        bool ok = !strcmp(finish_of(a), "tool_calls") && a->n_calls >= 1;
        for (size_t i = 0; ok && i < a->n_calls; i++)
            ok = !strcmp(a->names[i], "stop") ? !strcmp(a->args[i], "{}") : is_weather(a->args[i]);
        good += ok;
        calls += a->n_calls;
    }
    tap_ok(good == 8 && calls > 8, "parallel calls have their indexes (%zu calls)", calls);
    const char *flag = NULL;
    for (int n = 4; n < 60 && !flag; n++) { /* until the cut falls into the call */
        go(w, a, IG_FRAME_REQUEST,
           chat_request(json_pack("{s:O,s:{s:s},s:i,s:i}", "tools", tools, "tool_choice", "name", "weather",
                                  "max_tokens", n, "seed", 3)));
        flag = json_string_value(json_object_get(a->done, "flag"));
    }
    tap_ok(flag && !strcmp(flag, "truncated_call") && !strcmp(finish_of(a), "length"),
           "a call that was cut is flagged");
    json_decref(tools);
}

static void test_structured(worker *w, answer *a)
{
    size_t good = 0;
    for (int seed = 0; seed < 8; seed++) {
        go(w, a, IG_FRAME_REQUEST,
           chat_request(json_pack("{s:{s:s,s:{s:{s:[i,i]},s:{s:s,s:{s:s},s:i}},s:[s,s],s:b},s:i,s:i,s:f}",
                                  "json_schema", "type", "object", "properties", "a", "enum", 1, 22, "b", "type",
                                  "array", "items", "type", "boolean", "maxItems", 3, "required", "a", "b",
                                  "additionalProperties", 0, "max_tokens", 400, "seed", seed, "temperature", 1.5)));
        json_t *v = json_loads(a->text, 0, NULL);
        json_int_t n = json_integer_value(json_object_get(v, "a"));
        good += !strcmp(finish_of(a), "stop") && (n == 1 || n == 22) && json_is_array(json_object_get(v, "b"));
        json_decref(v);
    }
    tap_ok(good == 8, "answers fit a schema (%zu of 8)", good);
    go(w, a, IG_FRAME_REQUEST,
       text_request(
           "x", json_pack("{s:s,s:i,s:b}", "grammar", "root ::= \"yes\" | \"no\"", "max_tokens", 20, "ignore_eos", 1)));
    tap_ok((!strcmp(a->text, "yes") || !strcmp(a->text, "no")) && !strcmp(finish_of(a), "stop"), "and a grammar: %s",
           a->text);
    go(w, a, IG_FRAME_REQUEST, chat_request(json_pack("{s:b,s:i,s:i}", "json_object", 1, "max_tokens", 60, "seed", 3)));
    tap_ok(a->text[0] == '{', "json_object begins with a brace");
}

/* The answer is forced by a grammar that writes the markers as the model would. */
static void test_reply(worker *w, answer *a)
{
    json_t *tools = json_loads(tools_json, 0, NULL);
    go(w, a, IG_FRAME_REQUEST,
       chat_request(json_pack(
           "{s:O,s:s,s:i}", "tools", tools, "grammar",
           "root ::= \"<think>\\nhm\\n</think>\\n\\nso <tool_call>{\\\"name\\\": \\\"stop\\\", \\\"arguments\\\": "
           "{}}</tool_call>\"",
           "max_tokens", 300)));
    tap_ok(strstr(a->reasoning, "hm") && !strcmp(a->text, "so") && a->n_calls == 1 && !strcmp(a->names[0], "stop") &&
               !strcmp(finish_of(a), "tool_calls") && usage_of(a, "reasoning") > 0,
           "reasoning, text and a call are told apart");
    go(w, a, IG_FRAME_REQUEST,
       chat_request(json_pack("{s:O,s:s,s:i}", "tools", tools, "grammar", "root ::= \"<tool_call>{oops}</tool_call>\"",
                              "max_tokens", 300)));
    const char *flag = json_string_value(json_object_get(a->done, "flag"));
    tap_ok(flag && !strcmp(flag, "unparsed") && strstr(a->text, "{oops}"),
           "what is no call is given as text, and flagged");
    json_decref(tools);
}

/* A template that begins with thoughts: rules hold for what follows them. */
static void test_thoughts(const char *path)
{
    static const char source[] = "{% if tools %}T{% endif %}{{ messages[0].content }}<think>\n";
    worker w;
    answer a = {0};
    json_t *tools = json_loads(tools_json, 0, NULL);
    start_with(&w, path, json_pack("{s:s}", "template", source));
    go(&w, &a, IG_FRAME_QUERY, json_pack("{s:s,s:s}", "op", "tokenize", "text", "</think>"));
    json_int_t id = json_integer_value(json_array_get(json_object_get(a.result, "ids"), 0));
    go(&w, &a, IG_FRAME_REQUEST,
       chat_request(json_pack("{s:{s:[i,i]},s:[[I,i]],s:i}", "json_schema", "enum", 123, 456, "logit_bias", id, 1000,
                              "max_tokens", 20)));
    tap_ok((!strcmp(a.text, "123") || !strcmp(a.text, "456")) && usage_of(&a, "completion") == 4,
           "a schema holds behind the thoughts (%s)", a.text);
    go(&w, &a, IG_FRAME_REQUEST,
       chat_request(json_pack("{s:O,s:{s:s},s:[[I,i]],s:i}", "tools", tools, "tool_choice", "name", "weather",
                              "logit_bias", id, 1000, "max_tokens", 200)));
    tap_ok(a.n_calls == 1 && is_weather(a.args[0]), "and a forced call");
    json_decref(tools);
    answer_fini(&a);
    stop(&w);
}

static void test_chat(void)
{
    char path[4096];
    worker w;
    answer a = {0};
    (void)snprintf(path, sizeof path, "%s/serve/chat.gguf", tap_data());
    if (access(path, R_OK) != 0) (void)snprintf(path, sizeof path, "%s/serve/chat.gguf", tap_golden());
    if (access(path, R_OK) != 0) {
        tap_skip("chat", "%s is not there", path);
        return;
    }
    tap_ok(start_with(&w, path, NULL) && json_is_true(json_object_get(w.ready, "has_template")), "a chat model starts");
    test_tools(&w, &a);
    test_structured(&w, &a);
    test_reply(&w, &a);
    go(&w, &a, IG_FRAME_REQUEST,
       json_pack("{s:s,s:s,s:s,s:s,s:i}", "op", "generate", "kind", "text", "prompt", "int f(", "suffix", "return x;",
                 "max_tokens", 5));
    tap_ok(usage_of(&a, "prompt") == 3 + 6 + 9 - 2 || usage_of(&a, "completion") == 5, "a gap is filled (%lld tokens)",
           (long long)usage_of(&a, "prompt"));
    json_t *messages = json_pack("[{s:s,s:s}]", "role", "system", "content", "Be brief.");
    for (int i = 0; i < 40; i++) {
        char text[201];
        memset(text, 'a' + i % 26, 200);
        text[200] = 0;
        json_array_append_new(messages, json_pack("{s:s,s:s}", "role", i % 2 ? "assistant" : "user", "content", text));
    }
    json_array_append_new(messages, json_pack("{s:s,s:[{s:s,s:s},{s:s,s:s}]}", "role", "user", "content", "type",
                                              "text", "text", "last", "type", "text", "text", "words"));
    go(&w, &a, IG_FRAME_REQUEST, chat_request(json_pack("{s:O}", "messages", messages)));
    tap_ok(!strcmp(error_type(&a), "too_long"), "a chat too long is refused: %s", error_text(&a));
    go(&w, &a, IG_FRAME_REQUEST,
       chat_request(json_pack("{s:O,s:b,s:i}", "messages", messages, "truncate", 1, "max_tokens", 2)));
    tap_ok(a.done && usage_of(&a, "dropped") > 0, "and loses its oldest messages when asked");
    json_decref(messages);
    go(&w, &a, IG_FRAME_QUERY,
       json_pack("{s:s,s:[{s:s,s:s},{s:s,s:s}],s:b}", "op", "template", "messages", "role", "user", "content", "q",
                 "role", "assistant", "content", "The answer is", "continue_last", 1));
    const char *prompt = json_string_value(json_object_get(a.result, "prompt"));
    tap_ok(prompt && !strcmp(prompt, "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nThe answer is"),
           "the last message is continued");
    go(&w, &a, IG_FRAME_REQUEST, json_pack("{s:s,s:[s,s]}", "op", "embed", "inputs", "a", "b c"));
    tap_ok(json_array_size(json_object_get(a.result, "embeddings")) == 2, "a chat model embeds, too");
    answer_fini(&a);
    tap_ok(stop(&w) == 0, "the chat worker ends");
    test_thoughts(path);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    test_chat();
    return tap_done();
}
