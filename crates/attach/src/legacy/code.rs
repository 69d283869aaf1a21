//! From our errors to the codes that old clients know: the one place.

use sheepdog_engine::state::Refused;
use sheepdog_engine::volume::Refusal;
use sheepdog_proto::legacy::ResultCode;

use crate::door::CommandError;

/// Why a request failed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// An operation or an attach was refused.
    Volume(Refusal),
    /// A command was not carried out.
    Command(CommandError),
}

impl Failure {
    pub(super) const fn code(&self) -> ResultCode {
        match self {
            Self::Volume(Refusal::NoVdi) | Self::Command(CommandError::Refused(Refused::NoVdi)) => {
                ResultCode::NoVdi
            }
            Self::Volume(Refusal::Locked { .. })
            | Self::Command(CommandError::Refused(Refused::Locked(_))) => ResultCode::VdiLocked,
            Self::Volume(Refusal::Invalid(_))
            | Self::Command(CommandError::Refused(
                Refused::Invalid(_)
                | Refused::Shrink
                | Refused::TooFewZones { .. }
                | Refused::AlreadyFormatted,
            )) => ResultCode::InvalidParameters,
            Self::Volume(Refusal::NotFormatted)
            | Self::Command(CommandError::Refused(Refused::NotFormatted)) => {
                ResultCode::WaitForFormat
            }
            Self::Command(CommandError::Refused(Refused::NameTaken(_))) => ResultCode::VdiExists,
            Self::Command(CommandError::Refused(Refused::NoVid)) => ResultCode::FullVdi,
            Self::Volume(Refusal::NoSpace) => ResultCode::NoSpace,
            Self::Volume(Refusal::Fenced | Refusal::Io(_)) => ResultCode::Io,
            Self::Volume(Refusal::Stopping) => ResultCode::Shutdown,
            Self::Command(CommandError::Unavailable) => ResultCode::SystemError,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Volume(refusal)
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}
