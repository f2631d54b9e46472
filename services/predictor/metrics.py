"""The predictor's metrics; labels are bounded, never a bundle, a ticker or a client."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("hawk_predictor_requests_total", "HTTP requests by status class.", ["status"])

REQUEST_SECONDS = Histogram(
    "hawk_predictor_request_seconds",
    "Forecast requests: from headers to answer.",
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5),
)

FORECASTS = Counter("hawk_predictor_forecasts_total", "Forecasts on the stream.", ["fallback"])
for _fallback in ("true", "false"):
    FORECASTS.labels(_fallback)  # from 0 on: what appears with 1 is no increase

SWAPS = Counter("hawk_predictor_swaps_total", "Bundles that began to serve, by where.", ["where"])

REFUSALS = Counter("hawk_predictor_refusals_total", "Pointers and bundles that were refused.")

GENERATION = Gauge("hawk_predictor_model_generation", "Generation that serves; 0: none yet.")

IS_FALLBACK = Gauge(
    "hawk_predictor_is_fallback", "1: the base model serves, on which nobody trades."
)

MODEL_AGE_SECONDS = Gauge(
    "hawk_predictor_model_age_seconds",
    "Stream time since the last instant that the served model's training saw; 0: base model.",
)

VERIFY_SECONDS = Histogram(
    "hawk_predictor_verify_seconds",
    "Checking one bundle, child process included.",
    buckets=(0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
