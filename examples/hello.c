/* hello MODEL PROMPT: the smallest program that lets a model answer. Build: cc hello.c $(pkg-config --cflags --libs
 * ingle) */
#include <ingle.h>
#include <stdio.h>
#include <string.h>

static bool print_text(void *user, const char *text, size_t n, int32_t id)
{
    (void)user;
    (void)id;
    return fwrite(text, 1, n, stdout) == n && fflush(stdout) == 0;
}

int main(int argc, char **argv)
{
    ingle_model *model = NULL;
    ingle_engine *engine = NULL;
    ingle_session *session = NULL;
    ingle_sampler *sampler = NULL;
    ingle_sampler_options sampling = {.size = sizeof sampling, .temperature = 0};
    ingle_generate_options options = {.size = sizeof options, .n_max = 100, .on_text = print_text};
    ingle_generate_result result;
    ingle_error err = {.text = "usage: hello MODEL PROMPT"};

    bool ok = argc == 3 && ingle_model_open(argv[1], NULL, &model, &err) == INGLE_OK &&
              ingle_engine_new(model, NULL, &engine, &err) == INGLE_OK &&
              ingle_session_new(engine, &session, &err) == INGLE_OK &&
              ingle_sampler_new(model, &sampling, &sampler, &err) == INGLE_OK &&
              ingle_session_feed_text(session, argv[2], strlen(argv[2]), INGLE_ADD_SPECIAL, &err) == INGLE_OK &&
              ingle_generate(session, sampler, &options, &result, &err) == INGLE_OK;
    if (ok)
        printf("\n");
    else
        fprintf(stderr, "hello: %s\n", err.text);
    ingle_sampler_free(sampler);
    ingle_session_free(session);
    ingle_engine_free(engine);
    ingle_model_close(model);
    return ok ? 0 : 1;
}
