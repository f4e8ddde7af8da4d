//! The actions of the protocol.

macro_rules! actions {
    ($($name:ident,)*) => {
        /// Everything that can be asked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $(
                #[doc = concat!("`", stringify!($name), "`.")]
                $name,
            )*
        }

        impl Action {
            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub(crate) fn of(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($name) => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its name in the protocol.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

actions! {
    AddPermission,
    CancelMessageMoveTask,
    ChangeMessageVisibility,
    ChangeMessageVisibilityBatch,
    CreateQueue,
    DeleteMessage,
    DeleteMessageBatch,
    DeleteQueue,
    GetQueueAttributes,
    GetQueueUrl,
    ListDeadLetterSourceQueues,
    ListMessageMoveTasks,
    ListQueueTags,
    ListQueues,
    PurgeQueue,
    ReceiveMessage,
    RemovePermission,
    SendMessage,
    SendMessageBatch,
    SetQueueAttributes,
    StartMessageMoveTask,
    TagQueue,
    UntagQueue,
}

impl Action {
    /// Whether it is about messages alone, and no address of a queue is answered.
    pub(crate) const fn is_about_messages(self) -> bool {
        matches!(
            self,
            Self::SendMessage
                | Self::SendMessageBatch
                | Self::ReceiveMessage
                | Self::DeleteMessage
                | Self::DeleteMessageBatch
                | Self::ChangeMessageVisibility
                | Self::ChangeMessageVisibilityBatch
        )
    }

    /// Whether it is asked for where there is no queue's address.
    pub(crate) const fn is_about_all(self) -> bool {
        matches!(self, Self::CreateQueue | Self::ListQueues)
    }
}
