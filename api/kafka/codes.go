package kafka

// errorCode is an error as the Kafka protocol numbers it.
type errorCode = int16

// The error codes in use, by their names in the protocol.
const (
	errNone                         errorCode = 0
	errUnknownServer                errorCode = -1
	errOffsetOutOfRange             errorCode = 1
	errUnknownTopicOrPartition      errorCode = 3
	errLeaderNotAvailable           errorCode = 5
	errNotLeaderOrFollower          errorCode = 6
	errOffsetMetadataTooLarge       errorCode = 12
	errCoordinatorLoadInProgress    errorCode = 14
	errCoordinatorNotAvailable      errorCode = 15
	errNotCoordinator               errorCode = 16
	errInvalidTopic                 errorCode = 17
	errIllegalGeneration            errorCode = 22
	errInconsistentGroupProtocol    errorCode = 23
	errInvalidGroupID               errorCode = 24
	errUnknownMemberID              errorCode = 25
	errInvalidSessionTimeout        errorCode = 26
	errRebalanceInProgress          errorCode = 27
	errUnsupportedVersion           errorCode = 35
	errInvalidRequest               errorCode = 42
	errPolicyViolation              errorCode = 44
	errTransactionalIDAuthorization errorCode = 53
	errStorage                      errorCode = 56
	errNonEmptyGroup                errorCode = 68
	errGroupIDNotFound              errorCode = 69
	errFetchSessionIDNotFound       errorCode = 70
	errUnknownLeaderEpoch           errorCode = 75
	errMemberIDRequired             errorCode = 79
	errGroupMaxSizeReached          errorCode = 81
	errFencedInstanceID             errorCode = 82
	errUnknownTopicID               errorCode = 100
)
