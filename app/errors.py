"""Every failure that a person or a client may see, each with its own code and HTTP status.

    ServiceError                     500 internal
    |-- BadRequest                   400 bad_request
    |-- InvalidInput                 422 invalid_input
    |   `-- UnknownFeature           422 unknown_feature
    |-- NotFound                     404 not_found
    |   |-- UnknownModel             404 unknown_model
    |   |-- UnknownVariant           404 unknown_variant
    |   |-- UnknownVersion           404 unknown_version
    |   |-- UnknownRecipe            404 unknown_recipe
    |   `-- UnknownJob               404 unknown_job
    |-- Unauthorized                 401 unauthorized
    |-- AdminClosed                  403 admin_closed
    |-- MethodNotAllowed             405 method_not_allowed
    |-- Conflict                     409 conflict
    |-- RequestTimeout               408 request_timeout
    |-- BodyTooLarge                 413 body_too_large
    |-- Overloaded                   429 overloaded
    |-- NotReady                     503 not_ready
    |-- StoreUnavailable             503 store_unavailable
    |-- DeadlineExceeded             504 deadline_exceeded
    |-- ConfigurationError           500 configuration (a model card, a recipe or a setting is wrong)
    |-- DataUnavailable              500 data_unavailable (a data set cannot be had or is not what it should be)
    |-- ArtifactCorrupt              500 artifact_corrupt
    |   `-- ActiveCorrupt            409 active_corrupt
    `-- CompressionFailed            500 compression_failed

The message says what was wrong and what to do. `details` is for a program: small, JSON-ready, without secrets
or paths. Routes hold no `try`: the one exception handler of the API turns a ServiceError into its response.
"""

from typing import Any, ClassVar


class ServiceError(Exception):
    """The root: carries a `code` and an HTTP `status` as class attributes, a message and details as values."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class BadRequest(ServiceError):
    """What came is no HTTP request that this service can read."""

    code = "bad_request"
    status = 400


class InvalidInput(ServiceError):
    """The request cannot be understood: a wrong type, a value out of range, a missing part."""

    code = "invalid_input"
    status = 422


class UnknownFeature(InvalidInput):
    """The request names a feature that the model's schema does not have on that side."""

    code = "unknown_feature"


class NotFound(ServiceError):
    """What the request names does not exist."""

    code = "not_found"
    status = 404


class UnknownModel(NotFound):
    """No such model."""

    code = "unknown_model"


class UnknownVariant(NotFound):
    """No such variant of the model is served."""

    code = "unknown_variant"


class UnknownVersion(NotFound):
    """No such version of the variant is in the store."""

    code = "unknown_version"


class UnknownRecipe(NotFound):
    """The model's card has no such recipe."""

    code = "unknown_recipe"


class UnknownJob(NotFound):
    """No such job."""

    code = "unknown_job"


class Unauthorized(ServiceError):
    """The admin key is missing or wrong."""

    code = "unauthorized"
    status = 401


class AdminClosed(ServiceError):
    """No admin key is set, so the admin routes are closed."""

    code = "admin_closed"
    status = 403


class MethodNotAllowed(ServiceError):
    """The path exists, but not for this HTTP method."""

    code = "method_not_allowed"
    status = 405


class Conflict(ServiceError):
    """The request does not fit the present state, for example a roll-back with nothing to go back to."""

    code = "conflict"
    status = 409


class RequestTimeout(ServiceError):
    """The client took too long to send its request."""

    code = "request_timeout"
    status = 408


class BodyTooLarge(ServiceError):
    """The request's body is larger than the service takes."""

    code = "body_too_large"
    status = 413


class Overloaded(ServiceError):
    """The queue is full: try again later."""

    code = "overloaded"
    status = 429


class NotReady(ServiceError):
    """The model (or the service) cannot answer yet, or is draining."""

    code = "not_ready"
    status = 503


class StoreUnavailable(ServiceError):
    """The store or the job queue cannot be read or written at present: a full or a read-only disk, for example."""

    code = "store_unavailable"
    status = 503


class DeadlineExceeded(ServiceError):
    """The request's own deadline passed before its scores were computed."""

    code = "deadline_exceeded"
    status = 504


class ConfigurationError(ServiceError):
    """A model card, a recipe or a setting is wrong; the message names it, the field and the remedy."""

    code = "configuration"


class DataUnavailable(ServiceError):
    """A data set cannot be had, or is not what it should be."""

    code = "data_unavailable"


class ArtifactCorrupt(ServiceError):
    """An artifact in the store does not match its manifest, or its manifest is not acceptable."""

    code = "artifact_corrupt"


class ActiveCorrupt(ArtifactCorrupt):
    """The file that says what is active is damaged: nothing can be changed until it is written anew."""

    code = "active_corrupt"
    status = 409


class CompressionFailed(ServiceError):
    """A compression step could not do its work."""

    code = "compression_failed"


def is_expected(error: ServiceError) -> bool:
    """Whether the log need not have it: the client's doing, or too early or late, of which overload makes much."""
    return error.status < ServiceError.status or isinstance(error, NotReady | DeadlineExceeded)
