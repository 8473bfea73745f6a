// The public header from C++: it compiles with all warnings, and a model answers.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "ingle.h"

static int n_tests, n_failed;

static void ok(bool good, const char *name)
{
    n_tests++;
    if (!good) n_failed++;
    std::printf("%sok %d - %s\n", good ? "" : "not ", n_tests, name);
}

static bool collect(void *user, const char *text, size_t n, int32_t)
{
    static_cast<std::string *>(user)->append(text, n);
    return true;
}

static std::string answer(ingle_model *model, const std::string &prompt)
{
    ingle_engine_options engine_options = {};
    engine_options.size = sizeof engine_options;
    engine_options.n_threads = 2;
    ingle_sampler_options sampler_options = {};
    sampler_options.size = sizeof sampler_options;
    ingle_engine *engine = nullptr;
    ingle_session *session = nullptr;
    ingle_sampler *sampler = nullptr;
    std::string text;
    ingle_generate_options options = {};
    options.size = sizeof options;
    options.n_max = 12;
    options.on_text = collect;
    options.user = &text;
    ingle_generate_result result = {};
    bool good =
        ingle_engine_new(model, &engine_options, &engine, nullptr) == INGLE_OK &&
        ingle_session_new(engine, &session, nullptr) == INGLE_OK &&
        ingle_sampler_new(model, &sampler_options, &sampler, nullptr) == INGLE_OK &&
        ingle_session_feed_text(session, prompt.data(), prompt.size(), INGLE_ADD_SPECIAL, nullptr) == INGLE_OK &&
        ingle_generate(session, sampler, &options, &result, nullptr) == INGLE_OK;
    ingle_sampler_free(sampler);
    ingle_session_free(session);
    ingle_engine_free(engine);
    return good ? text : "";
}

int main()
{
    const char *data = std::getenv("INGLE_DATA");
    std::string path = std::string(data ? data : "tests/data") + "/stories260K.gguf";
    ingle_model *model = nullptr;
    ingle_error err = {};
    ok(ingle_model_open("absent.gguf", nullptr, &model, &err) == INGLE_NOT_FOUND, "an absent file is NOT_FOUND");
    ok(std::string(err.text).find("absent.gguf") != std::string::npos, "and the message names it");
    ok(ingle_model_open(path.c_str(), nullptr, &model, &err) == INGLE_OK, "the model opens");
    if (model) {
        std::vector<int32_t> ids(16);
        size_t n = 0;
        ok(ingle_tokenize(model, "Once upon a time", 16, INGLE_ADD_SPECIAL, ids.data(), ids.size(), &n, &err) ==
                   INGLE_OK &&
               n == 5 && ids[0] == 1,
           "tokenize");
        ok(answer(model, "Once upon a time").rfind(", there was a little girl", 0) == 0, "the model answers");
    }
    ingle_model_close(model);
    std::printf("1..%d\n", n_tests);
    return n_failed != 0;
}
